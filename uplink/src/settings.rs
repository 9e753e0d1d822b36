//! The settings of a cluster: chosen when its uplink first starts, kept with the map, compared at every later start.

mod replication;

use std::fmt::{Debug, Display};
use std::time::Duration;

use firn_wire::key::{KeyInteger, SLOTS};
use firn_wire::limits::{PARTITIONS_MAX, WORKERS_MAX};
use firn_wire::map::{NameRange, Placement, Replication, Settings};

pub use replication::{Rehoming, ReplicationWishes, rehoming};

/// The most copies of a partition. It also bounds how many groups there can be.
pub const COPIES_MAX: u8 = 8;
/// Copies of each partition, for a cluster that does not say.
pub const COPIES_DEFAULT: u8 = 2;
/// The most name ranges, one partition each: as many as there are bytes.
pub const NAME_RANGES_MAX: usize = 256;
/// The silence after which a worker counts as down, for a cluster that does not say.
pub const WORKER_LEASE_DEFAULT: Duration = Duration::from_millis(2_500);

const WORKER_LEASE_MIN: Duration = Duration::from_millis(100);
const WORKER_LEASE_MAX: Duration = Duration::from_secs(600);

/// What an operator says of the settings. None: what the cluster has, or the default at its first start.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Key → integer. Fixed.
    pub key_integer: Option<KeyInteger>,
    /// Partitions of group 0. Fixed.
    pub partitions: Option<u16>,
    /// Membership → wanted places. Fixed.
    pub placement: Option<Placement>,
    /// Copies of each partition of group 0. Fixed.
    pub copies: Option<u8>,
    /// Workers to wait for before the first map.
    pub expect_workers: Option<u16>,
    /// Ranges of first bytes of a D-Boutique bucket's name. Fixed.
    pub name_ranges: Option<Vec<NameRange>>,
    /// The silence after which a worker counts as down.
    pub worker_lease: Option<Duration>,
    /// How copies are kept.
    pub replication: ReplicationWishes,
}

impl Wishes {
    /// The settings of a new cluster; an error says which wish cannot be.
    pub fn of_a_new_cluster(self) -> Result<Settings, String> {
        let key_integer = self.key_integer.unwrap_or_default();
        let settings = Settings {
            key_integer,
            partitions: self.partitions.unwrap_or(key_integer.partitions_default()),
            placement: self.placement.unwrap_or_default(),
            copies: self.copies.unwrap_or(COPIES_DEFAULT),
            expect_workers: self.expect_workers.unwrap_or(1),
            name_ranges: self.name_ranges.unwrap_or_else(|| letters().to_vec()),
            worker_lease_ms: milliseconds(self.worker_lease.unwrap_or(WORKER_LEASE_DEFAULT)),
            replication: self.replication.over(Replication::default()),
        };
        check(&settings)?;
        Ok(settings)
    }

    /// The settings of a cluster that has some: an error names a fixed one that differs, and both values.
    pub fn of_the_cluster(self, kept: &Settings) -> Result<Settings, String> {
        fixed("KEY_INTEGER", self.key_integer, &kept.key_integer, KeyInteger::to_string)?;
        fixed("PARTITIONS", self.partitions, &kept.partitions, u16::to_string)?;
        fixed("PLACEMENT", self.placement, &kept.placement, lower_case)?;
        fixed("COPIES", self.copies, &kept.copies, u8::to_string)?;
        fixed("NAME_RANGES", self.name_ranges, &kept.name_ranges, |r| name_ranges_text(r))?;
        let lease = self.worker_lease.map_or(kept.worker_lease_ms, milliseconds);
        let settings = Settings {
            expect_workers: self.expect_workers.unwrap_or(kept.expect_workers),
            worker_lease_ms: lease,
            replication: self.replication.over(kept.replication),
            ..kept.clone()
        };
        check(&settings)?;
        Ok(settings)
    }
}

fn fixed<T: PartialEq>(
    name: &str,
    wish: Option<T>,
    kept: &T,
    show: impl Fn(&T) -> String,
) -> Result<(), String> {
    match wish {
        Some(wish) if wish != *kept => Err(format!(
            "{name} is {} in this cluster for its whole life and cannot become {}; leave the setting out, or start a \
             new cluster in another data directory",
            show(kept),
            show(&wish),
        )),
        _ => Ok(()),
    }
}

/// A unit variant's name as settings write it.
fn lower_case(value: &impl Debug) -> String {
    format!("{value:?}").to_lowercase()
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn within<T: PartialOrd + Display>(name: &str, value: T, least: T, most: T) -> Result<(), String> {
    if value < least || value > most {
        return Err(format!("{name} is {value} and must be {least} to {most}"));
    }
    Ok(())
}

/// Whether settings make sense; an error says which does not.
pub fn check(settings: &Settings) -> Result<(), String> {
    within("PARTITIONS", settings.partitions, 1, PARTITIONS_MAX)?;
    if settings.key_integer == KeyInteger::Crc16 && !settings.partitions.is_power_of_two() {
        return Err(format!(
            "PARTITIONS is {} and must be a power of two with KEY_INTEGER=crc16, so that each partition is as many of \
             the {SLOTS} slots as the others",
            settings.partitions
        ));
    }
    within("COPIES", settings.copies, 1, COPIES_MAX)?;
    within("EXPECT_WORKERS", usize::from(settings.expect_workers), 1, WORKERS_MAX)?;
    let (least, most) = (milliseconds(WORKER_LEASE_MIN), milliseconds(WORKER_LEASE_MAX));
    within("WORKER_LEASE in milliseconds", settings.worker_lease_ms, least, most)?;
    replication::check(&settings.replication)?;
    check_name_ranges(&settings.name_ranges)
}

fn check_name_ranges(ranges: &[NameRange]) -> Result<(), String> {
    let upwards = ranges.iter().all(|range| range.from <= range.to);
    let apart = ranges.windows(2).all(|pair| pair[0].to < pair[1].from);
    if !upwards || !apart || ranges.len() > NAME_RANGES_MAX {
        return Err(format!(
            "NAME_RANGES is {:?} and must be ranges that ascend and do not overlap, as a-g,h-n,o-u,v-z",
            name_ranges_text(ranges)
        ));
    }
    Ok(())
}

/// The ranges of D-Boutique's own routing table.
fn letters() -> [NameRange; 4] {
    [(b'a', b'g'), (b'h', b'n'), (b'o', b'u'), (b'v', b'z')]
        .map(|(from, to)| NameRange { from, to })
}

/// Reads a placement's name.
pub fn placement(text: &str) -> Result<Placement, String> {
    match text {
        "modulo" => Ok(Placement::Modulo),
        "sticky" => Ok(Placement::Sticky),
        _ => Err(format!("{text:?} is neither modulo nor sticky")),
    }
}

/// Reads ranges, or `none` alone, which turns the rule off.
pub fn name_ranges(texts: &[String]) -> Result<Vec<NameRange>, String> {
    if texts == ["none"] {
        return Ok(Vec::new());
    }
    texts.iter().map(|text| name_range(text)).collect()
}

/// Reads one range, `a-g`: two printable ASCII characters, or one that stands for itself.
fn name_range(text: &str) -> Result<NameRange, String> {
    match text.as_bytes() {
        [only] if only.is_ascii_graphic() => Ok(NameRange { from: *only, to: *only }),
        [from, b'-', to] if from.is_ascii_graphic() && to.is_ascii_graphic() && from <= to => {
            Ok(NameRange { from: *from, to: *to })
        }
        _ => Err(format!("{text:?} is no range of first characters, as a-g")),
    }
}

fn name_ranges_text(ranges: &[NameRange]) -> String {
    let one = |range: &NameRange| format!("{}-{}", char::from(range.from), char::from(range.to));
    if ranges.is_empty() {
        return "none".to_owned();
    }
    ranges.iter().map(one).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_make_sense_for_both_conversions() {
        let crc16 = Wishes::default().of_a_new_cluster().unwrap();
        assert_eq!((crc16.partitions, crc16.copies, crc16.worker_lease_ms), (1024, 2, 2_500));
        assert_eq!(name_ranges_text(&crc16.name_ranges), "a-g,h-n,o-u,v-z");
        let literal = Wishes { key_integer: Some(KeyInteger::Literal), ..Wishes::default() }
            .of_a_new_cluster();
        assert_eq!(literal.unwrap().partitions, 840);
    }

    #[test]
    fn a_wish_that_cannot_be_is_named() {
        let why = |wishes: Wishes| wishes.of_a_new_cluster().unwrap_err();
        let none = Wishes::default;
        assert!(why(Wishes { partitions: Some(0), ..none() }).contains("PARTITIONS is 0"));
        assert!(why(Wishes { partitions: Some(840), ..none() }).contains("power of two"));
        assert!(why(Wishes { partitions: Some(32_768), ..none() }).contains("1 to 16384"));
        assert!(why(Wishes { copies: Some(0), ..none() }).contains("COPIES is 0"));
        assert!(why(Wishes { copies: Some(9), ..none() }).contains("1 to 8"));
        assert!(why(Wishes { expect_workers: Some(0), ..none() }).contains("EXPECT_WORKERS is 0"));
        let lease = Some(Duration::from_millis(1));
        assert!(why(Wishes { worker_lease: lease, ..none() }).contains("WORKER_LEASE"));
        let overlap = ["a-g", "g-z"].map(|text| name_range(text).unwrap()).to_vec();
        assert!(why(Wishes { name_ranges: Some(overlap), ..none() }).contains("a-g,g-z"));
        for bad in ["", "ag", "g-a", "a-", "é", "a-g-z"] {
            assert!(name_range(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn fixed_settings_stay_and_others_follow_the_operator() {
        let kept = Wishes::default().of_a_new_cluster().unwrap();
        assert_eq!(Wishes::default().of_the_cluster(&kept), Ok(kept.clone()));
        let changed = Wishes {
            worker_lease: Some(Duration::from_secs(1)),
            expect_workers: Some(3),
            replication: ReplicationWishes {
                rehome_after: Some(Rehoming::After(Duration::from_secs(60))),
                ..ReplicationWishes::default()
            },
            ..Wishes::default()
        };
        let changed = changed.of_the_cluster(&kept).unwrap();
        assert_eq!((changed.worker_lease_ms, changed.expect_workers), (1_000, 3));
        assert_eq!(changed.replication.rehome_after_ms, Some(60_000));
        assert_eq!(Wishes::default().of_the_cluster(&changed), Ok(changed.clone()));
        let never = ReplicationWishes {
            rehome_after: Some(Rehoming::Never),
            ..ReplicationWishes::default()
        };
        let never = Wishes { replication: never, ..Wishes::default() };
        let never = never.of_the_cluster(&changed).unwrap();
        assert_eq!(never.replication, kept.replication);

        let why = |wishes: Wishes| wishes.of_the_cluster(&kept).unwrap_err();
        let none = Wishes::default;
        let text = why(Wishes { key_integer: Some(KeyInteger::Literal), ..none() });
        assert!(text.contains("KEY_INTEGER is crc16") && text.contains("become literal"), "{text}");
        let text = why(Wishes { partitions: Some(512), ..none() });
        assert!(text.contains("PARTITIONS is 1024") && text.contains("become 512"), "{text}");
        let text = why(Wishes { placement: Some(Placement::Sticky), ..none() });
        assert!(text.contains("PLACEMENT is modulo") && text.contains("become sticky"), "{text}");
        let text = why(Wishes { copies: Some(3), ..none() });
        assert!(text.contains("COPIES is 2") && text.contains("become 3"), "{text}");
        let text = why(Wishes { name_ranges: Some(vec![]), ..none() });
        assert!(text.contains("a-g,h-n,o-u,v-z") && text.contains("become none"), "{text}");
    }
}
