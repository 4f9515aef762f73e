//! What members were told of an item, and when. From that follows what a member's copy may show.
//!
//! A member's messages and the messages to it cross. A copy shows, of each field, what its member reported last
//! or what the member was told last: the one that the client handled later. The server knows at which tick of
//! the session it told the member something, and by the Pongs up to which tick the member has handled that. So
//! it knows the ticks whose values of the document the copy may show.

use std::ops::Range;
use std::sync::Arc;

use super::item::PLACE;
use crate::protocol::UserId;
use crate::protocol::json::Name;

/// This many tellings are kept when outdated ones are forgotten: some seconds of a drag.
const MAX_TELLINGS: usize = 512;

/// The part of an item that a member was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// `x_mm` and `y_mm`.
    Position,
    /// The position and the angle.
    Place,
    /// Every field.
    Whole,
}

impl Part {
    /// The smallest part that has this field.
    pub fn with(key: &str) -> Self {
        match PLACE.iter().position(|name| *name == key) {
            Some(0 | 1) => Part::Position,
            Some(_) => Part::Place,
            None => Part::Whole,
        }
    }
}

/// The members that were told something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// All members, except the one whose change it is.
    AllBut(Option<UserId>),
    Only(UserId),
}

impl Audience {
    fn has(&self, user: &UserId) -> bool {
        let is_user = |one: &UserId| Arc::ptr_eq(one, user) || one == user;
        match self {
            Audience::AllBut(except) => !except.as_ref().is_some_and(is_user),
            Audience::Only(one) => is_user(one),
        }
    }
}

/// When members were told of an item.
#[derive(Debug, Default)]
pub struct Told {
    /// In the order of their ticks.
    tellings: Vec<Telling>,
    /// All members had received what was sent at or before this tick when outdated tellings were last
    /// forgotten.
    received: u64,
}

#[derive(Debug)]
struct Telling {
    tick: u64,
    part: Part,
    to: Audience,
}

impl Told {
    /// Notes that members are told a part at this tick. All members have received what was sent at or before
    /// `received`.
    pub fn note(&mut self, tick: u64, part: Part, to: Audience, received: u64) {
        // If a member answers no Pings, `received` stays. Then tellings are forgotten once for MAX_TELLINGS new
        // ones, not for each, as that takes time linear in all of them.
        if received > self.received || self.tellings.len() >= 2 * MAX_TELLINGS {
            self.received = received;
            self.forget_outdated();
        }
        self.tellings.push(Telling { tick, part, to });
    }

    /// Forgets the tellings that all members have received and been told anew since, and the oldest beyond
    /// [`MAX_TELLINGS`].
    fn forget_outdated(&mut self) {
        // For each part, the user that the newest telling to all but one left out: older tellings count for
        // that user alone.
        let mut newest: [Option<Option<UserId>>; 3] = [const { None }; 3];
        let mut kept = Vec::new();
        for telling in std::mem::take(&mut self.tellings).into_iter().rev() {
            let is_covered = |(part, except): (usize, &Option<Option<UserId>>)| {
                let Some(except) = except else { return false };
                let is_in_part = telling.part as usize <= part;
                is_in_part
                    && match (except, &telling.to) {
                        (None, _) => true,
                        (Some(except), Audience::Only(user)) => user != except,
                        (Some(except), to) => !to.has(except),
                    }
            };
            if newest.iter().enumerate().any(is_covered) || kept.len() >= MAX_TELLINGS {
                continue;
            }
            if telling.tick <= self.received
                && let Audience::AllBut(except) = &telling.to
            {
                let newest = &mut newest[telling.part as usize];
                *newest = match newest.take() {
                    None => Some(except.clone()),
                    // Two tellings that left out different users together reached all.
                    Some(_) => Some(None),
                };
            }
            kept.push(telling);
        }
        kept.reverse();
        self.tellings = kept;
    }

    /// The ticks after `since` at which a user was told a part, the newest first.
    fn ticks<'a>(
        &'a self,
        user: &'a UserId,
        part: Part,
        since: u64,
    ) -> impl Iterator<Item = u64> + 'a {
        let tellings = self.tellings.iter().rev().take_while(move |telling| telling.tick > since);
        let of_part = tellings.filter(move |telling| telling.part >= part && telling.to.has(user));
        of_part.map(|telling| telling.tick)
    }

    /// Whether a user was told of the item at this tick. `false` also if that is forgotten.
    pub fn has(&self, user: &UserId, tick: u64) -> bool {
        let first = self.tellings.partition_point(|telling| telling.tick < tick);
        let then = self.tellings[first..].iter().take_while(|telling| telling.tick == tick);
        then.into_iter().any(|telling| telling.to.has(user))
    }

    /// Whether a user was told of the item after this tick.
    pub fn is_after(&self, user: &UserId, tick: u64) -> bool {
        self.ticks(user, Part::Position, tick).next().is_some()
    }
}

/// What a member's last message about an item reported. Of the values that were taken the document's own record
/// is enough, so only the others are here.
#[derive(Debug, Default, Clone)]
pub struct Report {
    /// The tick at which the message was handled.
    pub tick: u64,
    /// The member had certainly received what was sent at or before this tick when it sent the message.
    pub received: u64,
    /// The fingerprints of the values that the document did not take over, by field.
    pub refused: Vec<(Name, u64)>,
}

/// What is known of what a member's copy shows.
#[derive(Debug, Clone, Copy)]
pub struct Sight<'a> {
    pub user: &'a UserId,
    pub told: &'a Told,
    /// The member was told nothing at or before this tick.
    pub since: u64,
    /// Whether the member was told the whole item at tick `since` itself.
    pub is_told_since: bool,
    /// The member has received what was sent at or before this tick.
    pub received: u64,
    pub report: Option<&'a Report>,
}

impl Sight<'_> {
    /// Whether the copy may show the value that the document had of a field at a tick of these spans, the
    /// newest first. Takes time linear in the spans and in the tellings.
    pub fn may_show(&self, key: &str, spans: impl Iterator<Item = Range<u64>> + Clone) -> bool {
        let mut older_spans = spans.clone();
        let Some(mut span) = older_spans.next() else { return false };
        // The member's report has replaced what it had received before.
        let before =
            |report: &Report| report.received.min(self.received).min(report.tick.saturating_sub(1));
        let spoken = self.report.map_or(0, before);
        let told = self.told.ticks(self.user, Part::with(key), self.since.max(spoken));
        let sent = self.is_told_since.then_some(self.since);
        let mut last = sent;
        for tick in told.chain(sent) {
            if tick <= self.received {
                last = Some(tick);
                break;
            }
            // The member may have handled this telling or not.
            while tick < span.start {
                match older_spans.next() {
                    Some(older) => span = older,
                    None => break,
                }
            }
            if span.contains(&tick) {
                return true;
            }
        }
        let shows = |tick: u64| spans.clone().any(|span| span.contains(&tick));
        match self.report.filter(|report| last.is_none_or(|last| last < report.tick)) {
            Some(report) => {
                // The member may have handled the last telling before its report or after it.
                last.is_some_and(|last| last > report.received && shows(last))
                    || (shows(report.tick)
                        && report.refused.iter().all(|(refused, _)| **refused != *key))
            }
            // The member has reported nothing since.
            None => shows(last.unwrap_or(self.received.max(self.since))),
        }
    }

    /// Whether the copy may show a value because its member has reported it, although the document did not take
    /// it over.
    pub fn may_show_reported(&self, key: &str, print: u64) -> bool {
        let Some(report) = self.report else { return false };
        let is_reported =
            report.refused.iter().any(|(refused, value)| **refused == *key && *value == print);
        is_reported && {
            let mut told =
                self.told.ticks(self.user, Part::with(key), report.tick.saturating_sub(1));
            !told.any(|tick| tick <= self.received)
        }
    }

    /// Whether a message about the item may be on its way to the member.
    pub fn is_crossed(&self) -> bool {
        let is_sent = self.is_told_since && self.since > self.received;
        is_sent || self.told.is_after(self.user, self.received.max(self.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        name.into()
    }

    fn all_but(name: &str) -> Audience {
        Audience::AllBut(Some(user(name)))
    }

    /// The ticks up to 20 whose values a copy may show.
    fn shown(told: &Told, received: u64, report: Option<&Report>) -> Vec<u64> {
        let user = user("ann");
        let (since, is_told_since) = (0, false);
        let sight = Sight { user: &user, told, since, is_told_since, received, report };
        let spans = |tick| std::iter::once(tick..tick + 1);
        let shown: Vec<u64> = (0..20).filter(|tick| sight.may_show("name", spans(*tick))).collect();
        // Several spans give the same as each of them.
        for last in 1..20 {
            let spans = (0..last).rev().map(|tick| tick..tick + 1);
            let is_any_shown = shown.iter().any(|tick| *tick < last);
            assert_eq!(sight.may_show("name", spans), is_any_shown, "{last}");
        }
        shown
    }

    #[test]
    fn a_copy_shows_what_its_member_was_told_or_said_last() {
        let mut told = Told::default();
        for (tick, part, to) in [
            (3, Part::Whole, Audience::AllBut(None)),
            (5, Part::Whole, all_but("ann")),
            (7, Part::Whole, all_but("bob")),
            (9, Part::Position, Audience::AllBut(None)),
            (11, Part::Whole, Audience::Only(user("ann"))),
            (12, Part::Whole, Audience::Only(user("bob"))),
        ] {
            told.note(tick, part, to, 0);
        }
        assert_eq!(shown(&told, 15, None), [11], "all is received");
        assert_eq!(shown(&told, 10, None), [7, 11], "the last is on its way");
        assert_eq!(shown(&told, 3, None), [3, 7, 11]);
        let said = |tick, received| Report { tick, received, refused: Vec::new() };
        assert_eq!(shown(&told, 15, Some(&said(10, 9))), [11], "it was told after it spoke");
        assert_eq!(shown(&told, 10, Some(&said(10, 9))), [10, 11]);
        assert_eq!(shown(&told, 15, Some(&said(13, 12))), [13], "it spoke after it was told");
        assert_eq!(shown(&told, 15, Some(&said(13, 8))), [11, 13], "they crossed");
        assert_eq!(shown(&told, 8, Some(&said(13, 8))), [11, 13]);
        assert_eq!(shown(&told, 3, Some(&said(13, 3))), [7, 11, 13]);
    }

    #[test]
    fn what_was_said_and_not_taken_is_shown_until_something_else_is_told() {
        let mut told = Told::default();
        told.note(3, Part::Whole, Audience::AllBut(None), 0);
        let report = Report { tick: 5, received: 4, refused: vec![("name".into(), 77)] };
        let ann = user("ann");
        fn sight<'a>(
            user: &'a UserId,
            report: &'a Report,
            told: &'a Told,
            received: u64,
        ) -> Sight<'a> {
            let (since, is_told_since) = (0, false);
            Sight { user, told, since, is_told_since, received, report: Some(report) }
        }
        assert!(sight(&ann, &report, &told, 6).may_show_reported("name", 77));
        assert!(!sight(&ann, &report, &told, 6).may_show_reported("name", 78));
        assert!(
            !sight(&ann, &report, &told, 6).may_show("name", std::iter::once(5..6)),
            "the document said something else then"
        );
        told.note(7, Part::Whole, Audience::Only(ann.clone()), 0);
        assert!(
            sight(&ann, &report, &told, 6).may_show_reported("name", 77),
            "it may not have arrived"
        );
        assert!(!sight(&ann, &report, &told, 7).may_show_reported("name", 77));
    }

    #[test]
    fn what_is_forgotten_makes_no_difference() {
        let users = ["ann", "bob", "cat"];
        // All sequences of five tellings: the number has one digit for each.
        for number in 0..(6_usize.pow(5)) {
            let (mut all, mut some) = (Told::default(), Told::default());
            for n in 0..5_u32 {
                let digit = number / 6_usize.pow(n) % 6;
                let tick = u64::from(n) + 1;
                let part = if digit % 2 == 0 { Part::Whole } else { Part::Position };
                let to = || match digit / 2 {
                    0 => all_but("ann"),
                    1 => all_but("bob"),
                    _ => Audience::Only(user("cat")),
                };
                all.note(tick, part, to(), 0);
                some.note(tick, part, to(), 3);
            }
            some.received = 4;
            some.forget_outdated();
            for (name, part) in
                users.iter().flat_map(|name| [(name, Part::Position), (name, Part::Whole)])
            {
                let user = user(name);
                let pending = |told: &Told| told.ticks(&user, part, 4).collect::<Vec<_>>();
                let last = |told: &Told| told.ticks(&user, part, 0).find(|tick| *tick <= 4);
                assert_eq!(pending(&all), pending(&some), "{number} {name}");
                assert_eq!(last(&all), last(&some), "{number} {name} {part:?}");
            }
        }
    }
}
