//! Tables: made, altered, dropped.

use std::sync::Arc;

use firn_wire::ids::{GroupId, MapVersion, TableId, TableName};
use firn_wire::limits::{TABLES_MAX, TTL_MS_MAX, VALUE_BYTES_HARD_MAX};
use firn_wire::map::{GroupRule, Map, TablePolicy, TableRow};
use firn_wire::registry::TableMade;
use serde_json::Value;

use super::registration::FIRST_TABLES;
use super::{Answer, Refusal, RefusalKind, Registry, add_group};
use crate::plan::Absences;
use crate::settings::COPIES_MAX;

impl Registry {
    /// Makes a table. One of that name that is there already stays as it is.
    pub(super) fn create_table(
        &mut self,
        name: TableName,
        policy: TablePolicy,
        first_byte: Option<u8>,
    ) -> Result<Answer, Refusal> {
        self.expect_map()?;
        check_policy(&policy)?;
        if let Some(place) = self.table_place(&name) {
            return Ok(self.table_made(place, false));
        }
        if self.map().tables.len() == TABLES_MAX {
            let detail = format!("the cluster has {TABLES_MAX} tables; drop one to make another");
            return Err(Refusal::new(RefusalKind::TooMany, detail));
        }
        let first_byte = first_byte.unwrap_or(name.as_str().as_bytes()[0]);
        let id = self.state.next_table;
        self.state.next_table = TableId(id.0 + 1);
        let absences = self.absences.clone();
        let (map, version) = self.change();
        let pinned = range_of(map, &policy, first_byte);
        let group = group_for(map, version, &absences, &policy, pinned.is_some());
        map.tables.push(TableRow { id, name, group, pinned, policy, rev: version });
        let place = map.tables.len() - 1;
        Ok(self.table_made(place, true))
    }

    pub(super) fn alter_table(
        &mut self,
        name: &TableName,
        patch: serde_json::Map<String, Value>,
    ) -> Result<Answer, Refusal> {
        let place = self.expect_table(name)?;
        let old = &self.map().tables[place].policy;
        let policy = patched(old, patch)?;
        check_policy(&policy)?;
        if policy.copies != old.copies || policy.placement != old.placement {
            let detail = "copies and placement of a table are fixed when it is made";
            return Err(Refusal::new(RefusalKind::FixedPolicy, detail));
        }
        if policy != *old {
            let (map, version) = self.change();
            map.tables[place].policy = policy;
            map.tables[place].rev = version;
        }
        Ok(self.table_made(place, false))
    }

    pub(super) fn drop_table(&mut self, name: &TableName) -> Result<Answer, Refusal> {
        let place = self.expect_table(name)?;
        let id = self.map().tables[place].id;
        if id.0 < FIRST_TABLES {
            let detail = format!("{name} always exists; what is in it can be removed");
            return Err(Refusal::new(RefusalKind::FixedTable, detail));
        }
        let (map, version) = self.change();
        map.tables.remove(place);
        Arc::make_mut(&mut self.history).table_gone(version, id);
        Ok(Answer::Gone(version))
    }

    fn table_place(&self, name: &TableName) -> Option<usize> {
        self.map().tables.iter().position(|row| row.name == *name)
    }

    fn expect_table(&self, name: &TableName) -> Result<usize, Refusal> {
        self.expect_map()?;
        self.table_place(name).ok_or_else(|| {
            Refusal::new(RefusalKind::NoSuchTable, format!("there is no table {name}"))
        })
    }

    fn table_made(&self, place: usize, created: bool) -> Answer {
        let table = self.map().tables[place].clone();
        Answer::Table(TableMade { table, created, version: self.version() })
    }
}

/// The range a table is pinned to; None for a table placed by keys, as is one whose first byte is in no range.
fn range_of(map: &Map, policy: &TablePolicy, first_byte: u8) -> Option<u16> {
    if policy.placement != Some(GroupRule::NameRanges) {
        return None;
    }
    let mut ranges = map.settings.name_ranges.iter();
    let place = ranges.position(|range| (range.from..=range.to).contains(&first_byte))?;
    Some(u16::try_from(place).expect("there are at most 256 ranges"))
}

/// The group of a policy; it appears with its first table.
fn group_for(
    map: &mut Map,
    version: MapVersion,
    absences: &Absences,
    policy: &TablePolicy,
    pinned: bool,
) -> GroupId {
    let copies = policy.copies.unwrap_or(map.settings.copies);
    let rule = if pinned { GroupRule::NameRanges } else { GroupRule::Keys };
    let found = map.groups.iter().find(|group| group.copies == copies && group.rule == rule);
    match found {
        Some(group) => group.id,
        None => add_group(map, version, absences, copies, rule),
    }
}

fn check_policy(policy: &TablePolicy) -> Result<(), Refusal> {
    let within = |name: &str, value: Option<u64>, most: u64| match value {
        Some(value) if value == 0 || value > most => {
            let detail = format!("{name} is {value} and must be 1 to {most}");
            Err(Refusal::new(RefusalKind::BadPolicy, detail))
        }
        _ => Ok(()),
    };
    within("copies", policy.copies.map(u64::from), u64::from(COPIES_MAX))?;
    within("ttl_ms", policy.ttl_ms, TTL_MS_MAX)?;
    within("value_bytes_max", policy.value_bytes_max, VALUE_BYTES_HARD_MAX as u64)?;
    within("memory_bytes_max", policy.memory_bytes_max, u64::MAX)
}

/// A policy after a JSON merge patch (RFC 7396): null takes a member away. A policy has no nested objects.
fn patched(
    old: &TablePolicy,
    patch: serde_json::Map<String, Value>,
) -> Result<TablePolicy, Refusal> {
    let policy = serde_json::to_value(old).expect("a policy is plain data");
    let Value::Object(mut members) = policy else { unreachable!("a policy is an object") };
    // A member set to null reads as one that is not there, and unlike that it must have a known name.
    members.extend(patch);
    serde_json::from_value(Value::Object(members))
        .map_err(|error| Refusal::new(RefusalKind::BadPolicy, error.to_string()))
}
