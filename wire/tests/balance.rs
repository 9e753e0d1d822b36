//! How evenly each conversion spreads keys as people write them. The tables are in docs/ARCHITECTURE.md; this test is what
//! wrote them and what notices when they are no longer true.

use std::fmt::Write as _;

use firn_wire::key::KeyInteger;

const KEYS: u64 = 100_000;
const WORKERS: std::ops::RangeInclusive<u16> = 2..=8;

/// The same numbers at every run, as even as random ones (SplitMix64, Steele and others 2014).
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A random UUID (RFC 9562, version 4) in text.
fn uuid(number: u64) -> String {
    let (high, low) = (mixed(2 * number), mixed(2 * number + 1));
    let (a, b, c) = (high >> 32, (high >> 16) & 0xffff, high & 0xfff);
    let (d, e) = ((low >> 48) & 0x3fff | 0x8000, low & 0xffff_ffff_ffff);
    format!("{a:08x}-{b:04x}-4{c:03x}-{d:04x}-{e:012x}")
}

/// An id of 41 bits of milliseconds, 10 of machine and 12 of sequence, from a service that makes one every 20 ms or so:
/// its sequence is nearly always 0.
fn snowflake(number: u64) -> String {
    let milliseconds = 288_834_974_657 + number * 20 + mixed(number) % 20;
    (milliseconds << 22 | (mixed(number + KEYS) % 4) << 12).to_string()
}

/// The days from 1800-01-01 on.
fn date(number: u64) -> String {
    let (mut year, mut day) = (1800, number);
    let leap =
        |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let months = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= months[month] {
        day -= months[month];
        month += 1;
    }
    format!("{year}-{:02}-{:02}", month + 1, day + 1)
}

/// Words of two to four syllables, none twice.
fn word(number: u64) -> String {
    const SYLLABLES: [&str; 20] = [
        "ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "per", "qui", "rol",
        "sun", "tan", "ven", "wi", "xo", "zur",
    ];
    let mut rest = number + 20;
    let mut word = String::new();
    while rest > 0 {
        word += SYLLABLES[(rest % 20) as usize];
        rest /= 20;
    }
    word
}

/// How a pattern is called, and its key of a number.
type Pattern = (&'static str, fn(u64) -> String);

const PATTERNS: [Pattern; 8] = [
    ("`user:N`", |n| format!("user:{n}")),
    ("`N:profile`", |n| format!("{n}:profile")),
    ("uuid", uuid),
    ("snowflake ids", snowflake),
    ("even ids", |n| (2 * n).to_string()),
    ("urls", |n| format!("https://shop.example/products/{}?page={}", n / 4, n % 4)),
    ("dates", date),
    ("words", word),
];

/// Keys of the fullest of `workers` over the mean. With modulo placement partition p is at worker p mod n.
fn imbalance(conversion: KeyInteger, workers: u16, key: fn(u64) -> String) -> f64 {
    let mut held = vec![0u64; usize::from(workers)];
    for number in 0..KEYS {
        let partition =
            conversion.partition(key(number).as_bytes(), conversion.partitions_default());
        held[usize::from(partition % workers)] += 1;
    }
    let fullest = *held.iter().max().expect("there are two workers or more");
    fullest as f64 * f64::from(workers) / KEYS as f64
}

fn table(conversion: KeyInteger) -> String {
    let mut table = format!("| {conversion}, n = ");
    for workers in WORKERS {
        write!(table, "| {workers} ").expect("a string takes all");
    }
    table += "|\n|---|---|---|---|---|---|---|---|\n";
    for (name, key) in PATTERNS {
        write!(table, "| {name} ").expect("a string takes all");
        for workers in WORKERS {
            write!(table, "| {:.2} ", imbalance(conversion, workers, key)).expect("likewise");
        }
        table += "|\n";
    }
    table
}

#[test]
fn the_patterns_are_what_they_are_called() {
    assert_eq!(date(0), "1800-01-01");
    assert_eq!(date(59), "1800-03-01", "1800 was no leap year");
    assert_eq!(date(82_544), "2025-12-31");
    assert_eq!(uuid(1).len(), 36);
    for (name, key) in PATTERNS {
        let keys: std::collections::BTreeSet<_> = (0..KEYS).map(key).collect();
        assert_eq!(keys.len() as u64, KEYS, "{name} has a key twice");
    }
}

#[test]
fn the_tables_of_the_documentation_are_true() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ARCHITECTURE.md");
    let page = std::fs::read_to_string(page).expect("the page is there");
    let tables = [KeyInteger::Crc16, KeyInteger::Literal].map(table);
    println!("{}", tables.join("\n"));
    for table in tables {
        assert!(page.contains(&table), "docs/ARCHITECTURE.md lacks this table:\n{table}");
    }
}
