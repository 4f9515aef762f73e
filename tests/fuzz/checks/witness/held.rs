//! Who may stay, and how much is held.

use collabd::hub::Hub;

use super::*;

impl Witness {
    /// Nobody is in whose key isn't good any more, nobody who should have shown one by now.
    pub(super) fn check_who_is_in(&self, cause: &Cause<'_>, now: Time) {
        for conn in self.conns.values().filter(|conn| conn.stage == Stage::In) {
            if let Some(grant) = &conn.grant {
                let key = in_force(grant, &self.keys).expect("a key that is gone");
                let is_over = matches!(cause.kind, Kind::Tick)
                    && key.expires.is_some_and(|end| end <= now.wall);
                assert!(!is_over, "a key that has expired");
                let is_open = match &conn.who {
                    Who::Member { session, .. } | Who::Viewer { session } => opens(key, session),
                    Who::Client { .. } => conn.channels.iter().all(|name| opens(key, name)),
                };
                assert!(is_open, "{conn:?} with {key:?}");
            } else if let (Who::Client { .. }, Kind::Tick) = (&conn.who, &cause.kind) {
                assert!(now.elapsed < conn.since + Duration::from_secs(10), "it has no key");
            }
        }
    }

    /// What the hub holds is within its bounds, and no more than there are reasons for.
    pub fn counts(&mut self, cause: &Cause<'_>, hub: &Hub, now: Duration) {
        let held = hub.footprint();
        let open = |is: fn(&Who) -> bool| {
            self.conns.values().filter(|conn| conn.stage == Stage::In && is(&conn.who)).count()
        };
        let members = open(|who| matches!(who, Who::Member { .. }));
        let viewers = open(|who| matches!(who, Who::Viewer { .. }));
        let clients = open(|who| matches!(who, Who::Client { .. }));
        let joined: usize = self.conns.values().map(|conn| conn.channels.len()).sum();
        assert_eq!((held.members, held.clients, held.joined), (members, clients, joined));
        assert_eq!(held.viewers, viewers);
        assert_eq!(held.channels, held.overall);
        let in_sessions: usize = held.sessions.iter().map(|session| session.members).sum();
        assert_eq!(in_sessions, members);
        let viewing: usize = held.sessions.iter().map(|session| session.viewers).sum();
        assert_eq!(viewing, viewers);
        assert!(held.sessions.len() <= self.limits.max_sessions);
        assert!(held.channels.channels <= self.limits.max_channels);
        for session in &held.sessions {
            let document = hub.document(&session.name).expect("it is there");
            let sizes = document.items().map(|item| {
                let fields = item.fields.iter();
                item.id.len() + fields.map(|f| f.key.len() + f.value.get().len() + 4).sum::<usize>()
            });
            let sizes: Vec<usize> = sizes.collect();
            let Limits { document: bounds, history, .. } = &self.limits;
            assert_eq!(session.document_bytes, sizes.iter().sum::<usize>());
            assert!(session.document_bytes <= bounds.document);
            assert!(sizes.iter().all(|size| *size <= bounds.item), "{sizes:?}");
            // Changes, and as many ids of messages that changed nothing.
            assert!(session.history <= 2 * history.changes);
            assert!(session.history_bytes <= history.bytes);
            assert!(session.confirmed <= session.history && session.removed <= 10_000);
        }
        let changes = self.key_changes;
        for (conn, known) in &self.conns {
            let is_new = Some(*conn) == cause.from || matches!(cause.kind, Kind::Keys);
            if known.grant.is_some() && is_new {
                let reason = Reason::Expiry(*conn, changes);
                self.growth.allow(reason, now, Duration::from_secs(60));
            }
        }
        self.growth.check(held.timers, members + viewers + clients, now);
    }
}
