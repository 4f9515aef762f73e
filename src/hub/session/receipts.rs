//! What members have received, found out with protocol Pings.

use std::time::Duration;

use super::Session;
use crate::hub::timers::SessionTimer;
use crate::hub::{ConnId, Context};

/// How often tracked members are pinged while they are told of changes.
const PING_INTERVAL: Duration = Duration::from_secs(1);

impl Session {
    /// Begins an event: counts the tick.
    pub(in crate::hub) fn begin(&mut self) {
        self.tick += 1;
    }

    /// Ends an event: stores news of the document, and pings members whose receipts are needed.
    pub(in crate::hub) fn finish(&mut self, cx: &mut Context<'_>) {
        self.journal_news(cx);
        let (tick, now) = (self.tick, cx.elapsed());
        let is_behind = self.told_last > self.received_by_all && !self.room.is_empty();
        if is_behind && self.receipts_timer.is_none() {
            self.set_receipts_timer(cx);
        }
        if std::mem::take(&mut self.needs_pings) {
            for member in self.room.iter_mut().filter(|member| member.needs_ping()) {
                let ping = member.ping(tick, now);
                ping.iter().for_each(|ping| cx.send(member.conn, ping));
            }
        }
    }

    fn set_receipts_timer(&mut self, cx: &mut Context<'_>) {
        let at = cx.elapsed() + PING_INTERVAL;
        self.receipts_timer = Some(at);
        cx.timers.set_in_session(at, self.room.name(), SessionTimer::Receipts);
    }

    /// Computes what all tracked members have received, and pings those that are behind.
    pub fn check_receipts(&mut self, cx: &mut Context<'_>) {
        self.receipts_timer = None;
        let (tick, now) = (self.tick, cx.elapsed());
        let tracked = self.room.iter().filter(|member| member.is_tracked());
        self.received_by_all =
            tracked.map(|member| member.received_by_copies(now)).min().unwrap_or(tick);
        for member in self.room.iter_mut() {
            if member.is_tracked()
                && member.received < self.told_last
                && !member.has_unanswered_ping()
            {
                let ping = member.ping(tick, now);
                ping.iter().for_each(|ping| cx.send(member.conn, ping));
            }
        }
    }

    /// Handles a Pong. A newcomer whose canvas hasn't arrived before the Pong to its first Ping is a guest.
    pub fn pong(&mut self, conn: ConnId, payload: &[u8], cx: &mut Context<'_>) {
        let Some(place) = self.room.place(conn) else { return };
        if !self.room[place].on_pong(payload, cx.elapsed()) {
            return;
        }
        self.begin();
        if !self.room[place].is_recognised() {
            self.recognise_guest(place, self.document.exists(), cx);
        } else if let Some(request) = self.room[place].take_waiting_request() {
            self.answer(place, &request, cx);
        }
        self.needs_pings |= self.room[place].needs_ping();
        if self.needs_pings {
            self.finish(cx);
        }
    }
}
