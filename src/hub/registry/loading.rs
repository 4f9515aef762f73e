//! What the store tells of sessions: one is loaded, a snapshot is needed, the disk fails or works again.

use std::sync::Arc;

use super::{AccessMode, Registry};
use crate::hub::loaded::LoadedSession;
use crate::hub::pending_requests::{NotLoaded, PendingRequest};
use crate::hub::session::Session;
use crate::hub::{ConnId, Context, Effect, Refusal};

impl Registry {
    /// Handles the end of loading a session. `past` is `None` if nothing of it is stored.
    pub fn loaded(
        &mut self,
        name: &Arc<str>,
        past: Result<Option<Box<LoadedSession>>, NotLoaded>,
        cx: &mut Context<'_>,
    ) {
        let Some(waiting) = self.loading.take(name) else { return };
        let refuse_all = |waiting: Vec<(ConnId, PendingRequest)>, why, cx: &mut Context<'_>| {
            cx.effects.extend(waiting.into_iter().map(|(conn, _)| Effect::Refuse { conn, why }));
        };
        let only_viewed =
            waiting.iter().all(|(_, waiting)| matches!(waiting, PendingRequest::View { .. }));
        match past {
            Ok(Some(_)) if waiting.is_empty() => return,
            Ok(Some(_)) if only_viewed && !self.make_room(AccessMode::Viewer, cx) => {
                return refuse_all(waiting, Refusal::Full, cx);
            }
            Ok(Some(past))
                if !waiting
                    .iter()
                    .any(|(_, waiting)| matches!(waiting, PendingRequest::Restore { .. }))
                    && !self.has_memory_for(past.document.memory(), cx.limits) =>
            {
                return refuse_all(waiting, Refusal::NoMemory, cx);
            }
            Ok(Some(past)) => {
                self.by_name.insert(name.clone(), Session::resume(name.clone(), *past));
                self.with_session(name, cx, |_, _| {});
            }
            Ok(None) => drop(self.stored.remove(name)),
            Err(NotLoaded) => return refuse_all(waiting, Refusal::NotLoaded, cx),
        }
        self.resume(name, waiting, cx);
    }

    /// Handles the requests that have waited for a session.
    pub(super) fn resume(
        &mut self,
        name: &Arc<str>,
        waiting: Vec<(ConnId, PendingRequest)>,
        cx: &mut Context<'_>,
    ) {
        for (conn, waiting) in waiting {
            match waiting {
                PendingRequest::Join { user, grant } => {
                    self.join(conn, name.clone(), user, grant, false, cx);
                }
                PendingRequest::View { grant, since } => {
                    self.view(conn, name.clone(), grant, since, cx);
                }
                PendingRequest::Restore { state, by } => {
                    self.restore(conn, name.clone(), state, by, cx);
                }
                PendingRequest::RestoreItem { item, by } => {
                    self.restore_item(conn, name.clone(), item, by, cx);
                }
            }
        }
        self.linger_if_empty(name, cx);
    }

    /// The store began or ceased to fail.
    pub fn disk_changed(&mut self, cx: &mut Context<'_>) {
        let names: Vec<Arc<str>> = self.by_name.keys().cloned().collect();
        for name in names {
            self.with_session(&name, cx, |session, cx| session.disk_changed(cx));
            self.evict_if_expired(&name, cx);
        }
    }

    /// The store lost entries of this session: gives it the whole document.
    pub fn snapshot_requested(&mut self, name: &str, cx: &mut Context<'_>) {
        self.with_session(name, cx, |session, cx| session.journal_snapshot(cx));
    }
}
