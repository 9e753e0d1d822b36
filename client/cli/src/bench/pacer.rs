//! The clock of an open loop: wakes each connection when its next request is due. A thread of its own, since the
//! runtime's timers go by whole milliseconds, which would be part of every latency.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::load::Pace;

/// Wakes the connections, given in the order of their offsets, for every request due before `end`.
pub(crate) fn start(
    start: Instant,
    end: Duration,
    connections: Vec<(Pace, Arc<Notify>)>,
) -> io::Result<()> {
    let thread = std::thread::Builder::new().name("pacer".to_owned());
    thread.spawn(move || pace(start, end, &connections))?;
    Ok(())
}

fn pace(start: Instant, end: Duration, connections: &[(Pace, Arc<Notify>)]) {
    for n in 0.. {
        for (pace, wake) in connections {
            let Some(due) = pace.intended(n).filter(|due| *due < end) else { return };
            std::thread::sleep((start + due).saturating_duration_since(Instant::now()));
            wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A wake that is not taken yet counts once, so the last one of each connection is what is left to take.
    #[tokio::test]
    async fn every_connection_is_woken_and_never_early() {
        let began = Instant::now();
        let end = Duration::from_millis(20);
        let connections: Vec<_> =
            (0..3).map(|c| (Pace::of(Some(1_000.0), c, 3), Arc::new(Notify::new()))).collect();
        let last = connections.iter().map(|(pace, _)| pace.planned(end).unwrap() - 1);
        let last: Vec<_> = connections.iter().zip(last).map(|((p, _), n)| p.intended(n)).collect();
        pace(began, end, &connections);
        assert!(Some(began.elapsed()) >= last.into_iter().max().unwrap());
        for (_, wake) in &connections {
            wake.notified().await;
        }
    }
}
