//! `firn backup FILE`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Args;
use firn_gateway::execute::Execute as _;
use firn_wire::command::Command;
use firn_wire::ids::{PartitionId, TableId};
use firn_wire::map::{MapIndex, TableRow};
use firn_wire::reply::Reply;
use indicatif::ProgressBar;
use serde_json::json as value;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::{JoinError, JoinSet};

use super::frame::{Kind, Packed, Writer};
use super::read::{Piece, Reader};
use super::survey::{Footer, Header, Table, json};
use super::target::Target;
use super::{Tables, tables_text};
use crate::cluster::Cluster;
use crate::exit::{Exit, Problem};
use crate::options::Global;
use crate::output::{Object, Output, bar};
use crate::since::now_ms;
use crate::store::{Store, no_table, odd};

/// `firn backup FILE`.
#[derive(Debug, Args)]
pub(crate) struct Take {
    /// The file to write; - is standard output
    #[arg(required = true)]
    file: Option<PathBuf>,
    #[command(flatten)]
    pub(super) tables: Tables,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
    /// Partitions that are read at once
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    parallel: u8,
}

/// Takes a backup.
pub(crate) async fn run(
    options: &Take,
    global: &Global,
    to: &mut Output<'_>,
) -> Result<(), Problem> {
    let path = options.file.as_deref().expect("clap requires it");
    if Target::is_stdout(path) {
        if to.terminal {
            let message = "a backup is not for the terminal; name a file, or send it into a pipe";
            return Err(Problem::usage(message));
        }
        let (done, _) = take(options, global, &mut *to.out).await?;
        match to.json {
            true => eprintln!("{}", done.object().into_value()),
            false => eprintln!("{}", done.sentence("standard output")),
        }
        return Ok(());
    }
    let target = Target::new(path, options.force)?;
    let taken = take(options, global, target.create()?).await;
    let kept = taken.and_then(|(done, out)| {
        let file = out.into_inner().map_err(|error| unwritten(error.into_error()))?;
        target.keep(&file).map_err(unwritten)?;
        Ok(done)
    });
    let done = kept.inspect_err(|_| target.discard())?;
    if to.json {
        return Ok(to.json(done.object().with("file", path.to_string_lossy()).members())?);
    }
    Ok(to.line(done.sentence(&path.display().to_string()))?)
}

/// What was taken.
struct Done {
    header: Header,
    entries: u64,
    bytes: u64,
    elapsed_ms: u64,
}

impl Done {
    fn sentence(&self, target: &str) -> String {
        let Self { header, entries, bytes, elapsed_ms } = self;
        let (tables, seconds) = (tables_text(header.tables.len()), *elapsed_ms as f64 / 1e3);
        format!("{target}: {entries} entries of {tables}, {bytes} bytes, in {seconds:.1} s")
    }

    fn object(&self) -> Object {
        let tables: Vec<&str> = self.header.tables.iter().map(|it| it.name.as_str()).collect();
        Object::default()
            .with("backup", self.header.backup.as_str())
            .with("tables", value!(tables))
            .with("entries", self.entries)
            .with("bytes", self.bytes)
            .with("elapsed_ms", self.elapsed_ms)
    }
}

async fn take<W: Write>(options: &Take, global: &Global, out: W) -> Result<(Done, W), Problem> {
    let cluster = Arc::new(Cluster::connect(global).await?);
    let header = header(&cluster, &options.tables).await?;
    let bar = bar(
        expected(&cluster, &header, global).await?,
        "backing up {bar:30} {human_pos}/{human_len} entries {per_sec} {eta} left",
    );
    let (readers, pieces) = start(options, global, &cluster, &header);
    let out = Writer::new(out).map_err(unwritten)?;
    let mut writing = Writing { out, puts: 0, raw_bytes: 0, entries: 0, bar };
    writing.write(&Piece::new(Kind::Header, json(&header)))?;
    writing.take(readers, pieces).await?;
    let (bytes, entries, out) = writing.end()?;
    let elapsed_ms = now_ms().saturating_sub(header.taken_at_ms);
    Ok((Done { header, entries, bytes, elapsed_ms }, out))
}

/// What is to be in the backup.
async fn header(cluster: &Cluster, tables: &Tables) -> Result<Header, Problem> {
    for name in &tables.named {
        cluster.find_table(name).await.ok_or_else(|| no_table(name))?;
    }
    let map = cluster.map();
    let chosen = map.tables.iter().filter(|row| tables.has(&row.name));
    let random = getrandom::u64().map_err(|error| Problem::new(Exit::Refused, error))?;
    Ok(Header {
        backup: format!("{:x}-{random:016x}", now_ms()),
        cluster: map.cluster,
        map: map.version,
        key_integer: map.settings.key_integer,
        taken_at_ms: now_ms(),
        firn: env!("CARGO_PKG_VERSION").to_owned(),
        tables: chosen.map(|row| table(&map, row)).collect(),
    })
}

fn table(map: &MapIndex, row: &TableRow) -> Table {
    let partitions = map.partitions_of(row);
    let range = row.pinned.and_then(|at| map.settings.name_ranges.get(usize::from(at)));
    Table {
        id: row.id,
        name: row.name.clone(),
        first_byte: range.map_or(row.name.as_str().as_bytes()[0], |range| range.from),
        policy: row.policy.clone(),
        group: row.group,
        from: partitions.start,
        to: partitions.end,
    }
}

/// About how many entries there will be.
async fn expected(cluster: &Cluster, header: &Header, global: &Global) -> Result<u64, Problem> {
    let mut sum = 0;
    for table in &header.tables {
        let mut store = Store::new(cluster, table.name.clone(), global.timeout);
        let reply = store.ask(Command::Count { table: table.id }).await?;
        let Reply::Count(count) = reply.view() else { return Err(odd(&reply.view())) };
        sum += count;
    }
    Ok(sum)
}

/// Starts reading; the pieces come in no order but that of each partition.
fn start(
    options: &Take,
    global: &Global,
    cluster: &Arc<Cluster>,
    header: &Header,
) -> (JoinSet<Result<(), Problem>>, Receiver<Piece>) {
    let (to, pieces) = channel(usize::from(options.parallel));
    let of = |id: PartitionId| {
        let tables = header.tables.iter().filter(|table| table.is_in(id));
        let mut tables: Vec<TableId> = tables.map(|table| table.id).collect();
        tables.sort_unstable();
        (id, tables)
    };
    let work: Arc<Vec<_>> = Arc::new(header.partitions().into_iter().map(of).collect());
    let next = Arc::new(AtomicUsize::new(0));
    let mut readers = JoinSet::new();
    for _ in 0..options.parallel {
        let reader = Reader::new(Arc::clone(cluster), global.timeout, to.clone());
        let (work, next) = (Arc::clone(&work), Arc::clone(&next));
        readers.spawn(async move {
            while let Some((id, tables)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                reader.read(*id, tables).await?;
            }
            Ok(())
        });
    }
    (readers, pieces)
}

/// The file as it grows.
struct Writing<W> {
    out: Writer<W>,
    puts: u64,
    raw_bytes: u64,
    /// Entries of the partitions that are whole.
    entries: u64,
    bar: ProgressBar,
}

impl<W: Write> Writing<W> {
    fn write(&mut self, piece: &Piece) -> Result<(), Problem> {
        self.out.write(&piece.frame).map_err(unwritten)?;
        self.puts += piece.puts;
        self.raw_bytes += piece.raw_bytes;
        self.entries += piece.entries.iter().map(|(_, entries)| entries).sum::<u64>();
        // What is written meanwhile may make it more than was expected.
        self.bar.set_length(self.bar.length().unwrap_or(0).max(self.puts));
        self.bar.set_position(self.puts);
        Ok(())
    }

    /// Writes all pieces; the first reader that fails ends it.
    async fn take(
        &mut self,
        mut readers: JoinSet<Result<(), Problem>>,
        mut pieces: Receiver<Piece>,
    ) -> Result<(), Problem> {
        loop {
            tokio::select! {
                piece = pieces.recv() => match piece {
                    Some(piece) => self.write(&piece)?,
                    None => break,
                },
                Some(ended) = readers.join_next() => ended.map_err(broken)??,
            }
        }
        while let Some(ended) = readers.join_next().await {
            ended.map_err(broken)??;
        }
        Ok(())
    }

    fn end(mut self) -> Result<(u64, u64, W), Problem> {
        let footer = Footer {
            ended_at_ms: now_ms(),
            frames: self.out.frames(),
            sum: self.out.sum(),
            puts: self.puts,
            raw_bytes: self.raw_bytes,
        };
        self.out.write(&Packed::new(Kind::Footer, json(&footer))).map_err(unwritten)?;
        self.bar.finish_and_clear();
        Ok((self.out.bytes(), self.entries, self.out.into_inner().map_err(unwritten)?))
    }
}

/// The backup cannot be written; a reader of a pipe that went away is no reason to complain.
fn unwritten(error: io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::BrokenPipe => error.into(),
        _ => Problem::new(Exit::Refused, format_args!("the backup cannot be written: {error}")),
    }
}

/// A reader ended without a word: a mistake of ours.
fn broken(error: JoinError) -> Problem {
    Problem::new(Exit::Refused, error)
}
