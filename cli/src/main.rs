//! `ccnode`, the administrators' tool: builds and measures images, and runs the pools of a trust service.

mod admin;
mod args;
mod bundle;
mod client;
mod context;
mod disk;
mod error;
mod explain;
mod file;
mod hardware;
mod image;
mod node;
mod output;
mod platform;
mod pool;
mod proposal;
mod recover;
mod refusal;
mod resource;
mod rules;
mod trustee;
mod tuple;
mod verify;

use anyhow::Result;
use args::{Args, Command, Global};
use clap::Parser as _;
use error::Report;
use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        // Help and version are data, and `--json` may be on a line that can't be read.
        Err(error) if error.use_stderr() && std::env::args_os().any(|arg| arg == "--json") => {
            return failed(&Report::of_command_line(&error), true);
        }
        Err(error) => error.exit(),
    };
    let json = args.global.json;
    let done = match args.command {
        Command::Verify(command) => verify::run(&args.global, &command),
        Command::Explain(command) => explain::run(&args.global, command).await,
        Command::Disk(command) => disk::run(&args.global, &command),
        other => run(&args.global, other).await.map(|()| ExitCode::SUCCESS),
    };
    match done {
        Ok(code) => code,
        // Whoever reads the output has seen enough.
        Err(error) if error.chain().any(is_broken_pipe) => ExitCode::SUCCESS,
        Err(error) => failed(&Report::of(&error), json),
    }
}

/// Tells of an error, once and last. It goes to standard error as JSON too: what reads the data from standard output
/// never takes an error for some.
fn failed(report: &Report, json: bool) -> ExitCode {
    match json {
        true => eprintln!("{}", report.json()),
        false => eprintln!("ccnode: {}", report.sentence),
    }
    ExitCode::from(report.exit)
}

/// The commands that either do what they are for or fail.
async fn run(global: &Global, command: Command) -> Result<()> {
    match command {
        Command::Image(command) => image::run(global, command).await,
        Command::Platform(command) => platform::run(global, command).await,
        Command::Pool(command) => pool::run(global, command).await,
        Command::Node(command) => node::run(global, command).await,
        Command::Resource(command) => resource::run(global, command).await,
        Command::Proposal(command) => proposal::run(global, command).await,
        Command::Refusal(command) => refusal::run(global, command).await,
        Command::Bundle(command) => bundle::run(global, command),
        Command::Recover(command) => recover::run(global, command).await,
        Command::Audit(command) => refusal::audit(global, command).await,
        Command::Verify(command) => verify::run(global, &command).map(drop),
        Command::Explain(command) => explain::run(global, command).await.map(drop),
        Command::Disk(command) => disk::run(global, &command).map(drop),
    }
}

fn is_broken_pipe(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}
