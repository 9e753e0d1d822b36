//! What a process uses, from proc(5).

/// Clock ticks in a second as /proc counts them: 100 on every Linux since 2.6 (`getconf CLK_TCK`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of processor time all threads of a process have had, `utime` + `stime`.
///
/// # Panics
/// When there is no such process.
#[track_caller]
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = read(pid, "stat");
    ticks_of_stat(&stat).expect("proc(5): two numbers 12 and 13 words after the name") as f64
        / TICKS_PER_SECOND
}

/// `utime` + `stime`. The name before them is in brackets and may hold blanks and brackets itself.
fn ticks_of_stat(stat: &str) -> Option<u64> {
    let mut words = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    Some(words.next()?.parse::<u64>().ok()? + words.next()?.parse::<u64>().ok()?)
}

/// Bytes of a process that are resident in memory, `VmRSS`.
///
/// # Panics
/// When there is no such process.
#[track_caller]
pub fn resident_bytes(pid: u32) -> u64 {
    let status = read(pid, "status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.expect("VmRSS in kB, as proc(5) says") * 1024
}

/// Whether every thread of a process stands still after a SIGSTOP.
///
/// # Panics
/// When there is no such process.
#[track_caller]
pub fn is_stopped(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    let mut threads = threads.unwrap_or_else(|error| panic!("there is no process {pid}: {error}"));
    threads.all(|thread| {
        let stat = thread.and_then(|thread| std::fs::read_to_string(thread.path().join("stat")));
        // One that has ended meanwhile is looked for again.
        stat.is_ok_and(|stat| state_of_stat(&stat) == Some('T'))
    })
}

/// The state, the word after the name.
fn state_of_stat(stat: &str) -> Option<char> {
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

#[track_caller]
fn read(pid: u32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}"))
        .unwrap_or_else(|error| panic!("process {pid} has no {file}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_may_look_like_more_columns() {
        let stat = "7 (a) S 1) S 1 7 7 0 -1 4194304 90 0 0 0 120 30 0 0 20 0 1 0 5 0 0";
        assert_eq!(ticks_of_stat(stat), Some(150));
        assert_eq!(ticks_of_stat("7 (a) S 1"), None);
        assert_eq!(state_of_stat(stat), Some('S'));
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(resident_bytes(std::process::id()) > 100_000);
    }
}
