//! Counts requests by their route and the status of their answer, and how long they took. Any
//! thread may write and read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::histogram::{Histogram, HistogramSample};
use crate::http::STATUSES;

/// Upper bounds of the histogram of requests, in microseconds.
pub const REQUEST_BOUNDS: [u64; 6] = [2_500, 10_000, 50_000, 250_000, 1_000_000, 5_000_000];
/// The name of what has no route: a path that leads nowhere, and what is no request.
const NO_ROUTE: &str = "other";

/// The requests of each route. What clients send makes no new counter: routes and statuses are a
/// fixed set.
#[derive(Debug)]
pub struct HttpCounters {
    /// By the number of the route; the last one counts what has none.
    routes: Vec<RouteCounters>,
}

#[derive(Debug)]
struct RouteCounters {
    route: &'static str,
    /// Answers, by the place of their status in [`STATUSES`].
    answered: [AtomicU64; STATUSES.len()],
    took: Histogram<{ REQUEST_BOUNDS.len() }>,
}

/// The requests of one route.
#[derive(Debug)]
pub struct RouteSample {
    /// Its path as it is documented, or `other`.
    pub route: &'static str,
    /// The statuses of its answers, and how often each was sent. None is 0.
    pub answered: Vec<(u16, u64)>,
    /// In microseconds, by [`REQUEST_BOUNDS`].
    pub took: HistogramSample,
}

/// A request that is being answered.
#[derive(Debug, Clone, Copy)]
pub struct BegunRequest {
    /// The number of its route; `None` where it has none.
    pub route: Option<usize>,
    /// When its head had been read.
    pub at: Instant,
}

impl HttpCounters {
    /// No requests yet. `routes` are the paths as they are documented.
    pub fn new(routes: Vec<&'static str>) -> Self {
        let routes = routes.into_iter().chain([NO_ROUTE]).map(|route| RouteCounters {
            route,
            answered: Default::default(),
            took: Histogram::default(),
        });
        HttpCounters { routes: routes.collect() }
    }

    /// Counts a request that is answered now, with this status.
    pub fn answered(&self, request: BegunRequest, status: u16) {
        self.count(request.route, status, request.at.elapsed());
    }

    fn count(&self, route: Option<usize>, status: u16, took: Duration) {
        let known = route.and_then(|number| self.routes.get(number));
        let Some(route) = known.or(self.routes.last()) else { return };
        // The last status is the one that unknown ones are sent as.
        let place = STATUSES.iter().position(|(known, _)| *known == status);
        route.answered[place.unwrap_or(STATUSES.len() - 1)].fetch_add(1, Relaxed);
        route.took.add_shared(took.as_micros() as u64, &REQUEST_BOUNDS);
    }

    /// The routes that were asked for since the start.
    pub fn read(&self) -> impl Iterator<Item = RouteSample> {
        self.routes.iter().filter_map(|counters| {
            let statuses = STATUSES.iter().map(|(status, _)| *status);
            let counts = counters.answered.iter().map(|count| count.load(Relaxed));
            let answered: Vec<_> = statuses.zip(counts).filter(|(_, count)| *count > 0).collect();
            let took = counters.took.read();
            (!answered.is_empty()).then_some(RouteSample { route: counters.route, answered, took })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_route_and_status() {
        let counters = HttpCounters::new(vec!["/", "/never", "/api/sessions/{id}"]);
        assert_eq!(counters.read().count(), 0);
        let millis = Duration::from_millis;
        for (route, status, took) in [
            (Some(2), 404, millis(1)),
            (Some(0), 200, millis(3)),
            (Some(0), 200, millis(60_000)),
            (Some(0), 304, millis(0)),
            (None, 404, millis(0)),
            (Some(99), 599, millis(0)),
        ] {
            counters.count(route, status, took);
        }
        let read: Vec<_> = counters.read().map(|route| (route.route, route.answered)).collect();
        let expected = [
            ("/", vec![(200, 2), (304, 1)]),
            ("/api/sessions/{id}", vec![(404, 1)]),
            ("other", vec![(404, 1), (500, 1)]),
        ];
        assert_eq!(read, expected);
        let took = counters.read().next().expect("a route").took;
        let expected = HistogramSample { counts: vec![1, 1, 0, 0, 0, 0, 1], sum: 60_003_000 };
        assert_eq!(took, expected);
    }
}
