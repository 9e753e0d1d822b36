//! The `firn` command.
//!
//! Reading order: [`command`] is the command line, [`options`] what its commands take, [`exit`] how a command ends,
//! [`cluster`] the cluster as it is seen from here, [`store`] asks it on behalf of one command, [`output`] prints;
//! [`ask`] picks the module of a command on data: [`keys`], [`scan`], [`batch`], [`tables`]; [`operate`] that of a command
//! for operators, who ask the [`uplink`]: [`status`] with [`movement`] and [`since`], [`drain`], [`forget`], [`recover`], [`settings`];
//! beside them [`backup`], [`shell`], [`mod@bench`] and [`proxy`].

mod ask;
mod backup;
mod batch;
mod bench;
mod cluster;
mod command;
mod drain;
mod exit;
mod forget;
mod keys;
mod movement;
mod operate;
mod options;
mod output;
mod proxy;
mod recover;
mod scan;
mod settings;
mod shell;
mod since;
mod status;
mod store;
mod tables;
mod uplink;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::CommandFactory as _;
use log::LevelFilter;
use tokio::runtime::Runtime;

use ask::Ask;
use cluster::Cluster;
use command::{Command, Firn};
use exit::{Exit, Problem};
use options::Global;
use output::Output;

fn main() -> ExitCode {
    let Firn { global, command } = firn_config::parse();
    // What goes wrong is said once, by the command; a proxy has nobody else to tell.
    let is_proxy = matches!(command, Command::Proxy(_));
    firn_config::init_logging(if is_proxy { LevelFilter::Info } else { LevelFilter::Off });
    match run(&global, command) {
        Ok(()) => Exit::Done.into(),
        Err(problem) => {
            problem.print(global.scope.json);
            problem.exit.into()
        }
    }
}

fn run(global: &Global, command: Command) -> Result<(), Problem> {
    let runtime = Runtime::new()?;
    let stdout = io::stdout();
    let terminal = stdout.is_terminal();
    let mut out = io::BufWriter::new(stdout);
    let mut to = Output { out: &mut out, json: global.scope.json, terminal };
    match command {
        Command::Ask(Ask::Operate(operate)) => {
            runtime.block_on(operate::run(&operate, global, &mut to))
        }
        Command::Ask(ask) => runtime.block_on(async {
            let cluster = Cluster::connect(global).await?;
            ask::run(&ask, &cluster, global, &global.scope, &mut to).await
        }),
        Command::Backup(options) => runtime.block_on(backup::run(&options, global, &mut to)),
        Command::Restore(options) => {
            runtime.block_on(backup::restore::run(&options, global, &mut to))
        }
        Command::Bench(options) => runtime.block_on(bench::run(&options, global, &mut to)),
        Command::Proxy(options) => runtime.block_on(proxy::run(&options, global)),
        Command::Shell => shell::run(&runtime, global, &mut to),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Firn::command(), "firn", &mut to.out);
            Ok(())
        }
    }?;
    Ok(out.flush()?)
}
