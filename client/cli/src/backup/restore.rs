//! `firn restore FILE`.
//!
//! The changes of each partition are done in the order of the file, by one session, which keeps the order of each key
//! whatever partition it is in now. A frame is done again as often as it takes, with those behind it: to do it twice is
//! the same as once, if what follows is done again too.

use std::collections::VecDeque;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use firn_gateway::execute::Execute as _;
use firn_wire::command::{Command, Condition, Expiry, KeyOp, Op, Set};
use firn_wire::exchange::{Collect, Role, Session};
use firn_wire::ids::{TableId, TableName};
use firn_wire::record::{Effect, Put};
use firn_wire::reply::{Failure, Reply};
use indicatif::ProgressBar;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::found::{self, Found};
use super::frame::{Frame, Kind, Reader};
use super::note::{Note, Task};
use super::survey::{Survey, Table};
use super::{Tables, bad, open};
use crate::cluster::Cluster;
use crate::exit::{Exit, Problem};
use crate::options::Global;
use crate::output::{Object, Output, bar};
use crate::since::now_ms;

/// Bytes of frames that may be under way.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;
/// How long a restore of which nothing comes goes on trying.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(200);
/// How often it is noted how far it is, at least: so much is done again after an end.
const NOTE_EVERY: Duration = Duration::from_millis(500);
const NOTE_BYTES: usize = 8 * 1024 * 1024;

/// `firn restore`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The backup
    file: PathBuf,
    #[command(flatten)]
    tables: Tables,
    /// Empty tables that hold something first; without it they are refused
    #[arg(long)]
    replace: bool,
}

/// Restores a backup, or goes on with it.
pub(crate) async fn run(
    options: &Options,
    global: &Global,
    to: &mut Output<'_>,
) -> Result<(), Problem> {
    let survey = super::survey(&options.file)?;
    let tables = chosen(options, &survey)?;
    let cluster = Cluster::connect(global).await?;
    let mut found = Found::look(&cluster, &tables).await;
    let full = found.full(&cluster, global).await?;
    if !full.is_empty() && !options.replace && !Note::is_there(&options.file) {
        return Err(found::not_empty(&full));
    }
    found.make_missing(&cluster, &tables, global).await?;
    let (backup, into) = (survey.header.backup.clone(), cluster.map().cluster);
    let task = Task { backup, cluster: into, tables: found.tables() };
    let (note, mut noted) = Note::open(&options.file, task)?;
    if full.is_empty() {
        noted = None; // whatever was restored is gone
    }
    if noted.is_none() {
        found::empty(&cluster, full, global).await?;
        note.write(0)?;
    }
    say_before(&found, noted, to)?;
    let mut restore = Restore::new(&cluster, &survey, &found, note, global);
    restore.run(&options.file, noted.unwrap_or(0)).await?;
    say_after(options, &found, noted, restore.tally, to)
}

fn say_after(
    options: &Options,
    found: &Found,
    noted: Option<u64>,
    Tally { written, expired }: Tally,
    to: &mut Output<'_>,
) -> Result<(), Problem> {
    if to.json {
        let object = Object::default()
            .with("written", written)
            .with("expired", expired)
            .with("created", json!(found.created))
            .with("kept", json!(found.kept))
            .with("resumed_from", noted);
        return Ok(to.json(object.members())?);
    }
    let shown = options.file.display();
    Ok(to.line(format_args!(
        "{shown}: restored: {written} entries written, {expired} had expired and were left out"
    ))?)
}

/// The tables that are to be restored.
fn chosen<'s>(options: &Options, survey: &'s Survey) -> Result<Vec<&'s Table>, Problem> {
    let all = &survey.header.tables;
    let names: Vec<&TableName> = all.iter().map(|table| &table.name).collect();
    if let Some(name) = options.tables.lacking(&names) {
        let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        let (file, names) = (options.file.display(), names.join(", "));
        return Err(Problem::new(
            Exit::NotThere,
            format_args!("{file} has no table {name}; it has {names}"),
        ));
    }
    Ok(all.iter().filter(|table| options.tables.has(&table.name)).collect())
}

fn say_before(found: &Found, noted: Option<u64>, to: &mut Output<'_>) -> Result<(), Problem> {
    if to.json {
        return Ok(());
    }
    if noted.is_some() {
        to.line("going on with a restore that was stopped")?;
    }
    if !found.created.is_empty() {
        to.line(format_args!("created: {}", found.created.join(", ")))?;
    }
    if !found.kept.is_empty() {
        to.line(format_args!("there already, policies as they are: {}", found.kept.join(", ")))?;
    }
    Ok(to.out.flush()?)
}

/// What became of entries.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    written: u64,
    expired: u64,
}

/// A frame whose changes are under way.
struct Batch {
    frame: Frame,
    replies: Collect,
    tally: Tally,
}

struct Restore<'r> {
    cluster: &'r Cluster,
    survey: &'r Survey,
    found: &'r Found,
    session: Session,
    /// In the order of the file.
    window: VecDeque<Batch>,
    window_bytes: usize,
    tally: Tally,
    note: Note,
    noted: Instant,
    /// Bytes done since then.
    unnoted: usize,
    /// When a frame was last done.
    moved: Instant,
    bar: ProgressBar,
}

impl<'r> Restore<'r> {
    fn new(
        cluster: &'r Cluster,
        survey: &'r Survey,
        found: &'r Found,
        note: Note,
        global: &Global,
    ) -> Self {
        let template = "restoring {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left";
        Self {
            cluster,
            survey,
            found,
            session: Session { timeout: global.timeout, ..Session::new(1, Role::Admin) },
            window: VecDeque::new(),
            window_bytes: 0,
            tally: Tally::default(),
            note,
            noted: Instant::now(),
            unnoted: 0,
            moved: Instant::now(),
            bar: bar(survey.bytes, template),
        }
    }

    /// Does all frames from one on.
    async fn run(&mut self, path: &Path, from: u64) -> Result<(), Problem> {
        let mut reader = Reader::new(open(path)?.0).map_err(|error| bad(path, error))?;
        while let Some(frame) = next_data(&mut reader, from).map_err(|error| bad(path, error))? {
            self.window_bytes += frame.body.len();
            let batch = self.submit(frame);
            self.window.push_back(batch);
            while self.window_bytes > WINDOW_BYTES {
                self.settle().await?;
            }
        }
        while !self.window.is_empty() {
            self.settle().await?;
        }
        self.bar.finish_and_clear();
        Ok(self.note.remove()?)
    }

    /// Sends what a frame changes.
    fn submit(&mut self, frame: Frame) -> Batch {
        let (mut commands, mut tally) = (Vec::new(), Tally::default());
        let now = now_ms();
        for (table, effect) in self.survey.live(&frame) {
            let Some(here) = self.found.id(table) else { continue };
            tally.add(&effect, now);
            commands.extend(command(here, &effect));
        }
        let mut replies = Collect::default();
        self.cluster.submit(&mut self.session, &commands, &mut replies);
        drop(commands);
        Batch { frame, replies, tally }
    }

    /// Waits until the first frame is done.
    async fn settle(&mut self) -> Result<(), Problem> {
        let Some(mut batch) = self.window.pop_front() else { return Ok(()) };
        let replies = std::mem::take(&mut batch.replies).all().await;
        let failed = replies.iter().find_map(|reply| match reply.view() {
            Reply::Failed(failure) => Some((Problem::from(failure.clone()), may_pass(&failure))),
            _ => None,
        });
        match failed {
            None => self.done(&batch),
            Some((_, true)) if self.moved.elapsed() < PATIENCE => {
                self.window.push_front(batch);
                self.again().await;
                Ok(())
            }
            Some((problem, _)) => Err(Problem::new(
                problem.exit,
                format_args!("{problem}; once that is seen to, the same command goes on from here"),
            )),
        }
    }

    fn done(&mut self, batch: &Batch) -> Result<(), Problem> {
        let bytes = batch.frame.body.len();
        self.window_bytes -= bytes;
        self.unnoted += bytes;
        self.tally.written += batch.tally.written;
        self.tally.expired += batch.tally.expired;
        self.moved = Instant::now();
        self.bar.set_position(batch.frame.at);
        if self.noted.elapsed() >= NOTE_EVERY || self.unnoted >= NOTE_BYTES {
            self.note.write(batch.frame.number + 1)?;
            (self.noted, self.unnoted) = (Instant::now(), 0);
        }
        Ok(())
    }

    /// Does all that is under way once more, in its order, when nothing of it is on its way any longer.
    async fn again(&mut self) {
        for batch in &mut self.window {
            std::mem::take(&mut batch.replies).all().await;
        }
        sleep(PAUSE).await;
        for batch in std::mem::take(&mut self.window) {
            let batch = self.submit(batch.frame);
            self.window.push_back(batch);
        }
    }
}

/// The next frame of entries, from a number on; None: there are no more.
fn next_data(
    reader: &mut Reader<impl Read>,
    from: u64,
) -> Result<Option<Frame>, super::frame::FileError> {
    while let Some(frame) = reader.next()? {
        if frame.kind == Kind::Data && frame.number >= from {
            return Ok(Some(frame));
        }
    }
    Ok(None)
}

impl Tally {
    fn add(&mut self, effect: &Effect<'_>, now: u64) {
        let Effect::Put(put) = effect else { return };
        match put.expires_at.is_some_and(|at| at <= now) {
            true => self.expired += 1,
            false => self.written += 1,
        }
    }
}

/// What does the same to a table; None: nothing does. An entry that has expired is written too, which removes what an
/// earlier part of the backup had for the key.
fn command<'e>(table: TableId, effect: &Effect<'e>) -> Option<Command<'e>> {
    let (key, op) = match effect {
        Effect::Put(Put { key, value, meta, expires_at, .. }) => {
            let expiry = expires_at.map_or(Expiry::Never, Expiry::At);
            (*key, Op::Set(Set { meta, expiry, ..Set::plain(value) }))
        }
        Effect::Delete { key, .. } => {
            (*key, Op::Delete { condition: Condition::Always, want_old: false })
        }
        _ => return None,
    };
    Some(Command::Key(KeyOp { table, key, op }))
}

/// Whether the same request may be taken later.
fn may_pass(failure: &Failure<'_>) -> bool {
    matches!(
        failure,
        Failure::Unavailable(_)
            | Failure::Unknown
            | Failure::Moved(_)
            | Failure::NotHereYet(_)
            | Failure::TooFewCopies { .. }
            | Failure::LogFull(_)
            | Failure::TooMuch(_)
    )
}
