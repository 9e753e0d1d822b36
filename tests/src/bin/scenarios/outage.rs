//! Every process of a cluster ended at once, the power of their disks with them where they have such, and all of it again.

use std::time::{Duration, Instant};

use firn_tests::{Choices, Cluster, Process};

use crate::disks::Disks;

/// A cluster that is ended again and again.
#[derive(Debug)]
pub(crate) struct Outage {
    // Ended before its disks are unmounted.
    pub(crate) cluster: Cluster,
    disks: Option<Disks>,
    choices: Choices,
    /// The longest it took from the first process that was stopped until all stood still.
    pub(crate) longest_stop: Duration,
}

impl Outage {
    /// Of a cluster; with disks the power goes, too. The seed chooses the orders.
    pub(crate) fn of(cluster: Cluster, disks: Option<Disks>, seed: u64) -> Self {
        Self { cluster, disks, choices: Choices(seed), longest_stop: Duration::ZERO }
    }

    /// Ends everything and gives the moment before.
    pub(crate) fn strike(&mut self) -> Instant {
        let order = self.order();
        let moment = Instant::now();
        if self.disks.is_some() {
            self.cut_power(&order);
            self.longest_stop = self.longest_stop.max(moment.elapsed());
        }
        order.iter().for_each(|place| self.process(*place).kill());
        moment
    }

    /// All are stopped before the first disk is cut, so that nobody is told anything of after the cut.
    fn cut_power(&mut self, order: &[usize]) {
        order.iter().for_each(|place| self.process(*place).signal("STOP"));
        order.iter().for_each(|place| self.process(*place).wait_stopped());
        self.disks.iter().for_each(Disks::cut);
    }

    /// Starts everything in any order and gives how long it took until all were ready.
    pub(crate) fn recover(&mut self) -> Duration {
        self.disks.iter_mut().for_each(Disks::power_up);
        let (order, start) = (self.order(), Instant::now());
        let workers = self.cluster.workers().len();
        for place in order {
            match place == workers {
                // The workers know where it was.
                true => self.process(place).restart(),
                false => self.process(place).start_anew(),
            }
        }
        (0..workers).for_each(|place| self.process(place).wait_addresses());
        self.cluster.wait_ready();
        start.elapsed()
    }

    /// Any order of its processes.
    fn order(&mut self) -> Vec<usize> {
        let workers = self.cluster.workers().len();
        let processes = if workers > 1 { workers + 1 } else { workers };
        let mut order: Vec<usize> = (0..processes).collect();
        for left in (1..processes).rev() {
            order.swap(left, self.choices.below(left as u64 + 1) as usize);
        }
        order
    }

    /// A worker, or behind the last of them the uplink.
    fn process(&mut self, place: usize) -> &mut Process {
        match place == self.cluster.workers().len() {
            true => self.cluster.uplink_mut(),
            false => self.cluster.worker_mut(place),
        }
    }
}
