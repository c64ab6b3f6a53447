//! `ccnode`, the administrators' tool: builds and measures images, and runs the pools of a trust service.

mod admin;
mod args;
mod bundle;
mod client;
mod context;
mod image;
mod node;
mod output;
mod platform;
mod pool;
mod refusal;

use args::{Args, Command};
use clap::Parser as _;
use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let args = Args::parse();
    let done = match args.command {
        Command::Image(command) => image::run(&args.global, command).await,
        Command::Platform(command) => platform::run(&args.global, command).await,
        Command::Pool(command) => pool::run(&args.global, command).await,
        Command::Node(command) => node::run(&args.global, command).await,
        Command::Refusal(command) => refusal::run(&args.global, command).await,
        Command::Bundle(command) => bundle::run(&args.global, command),
        Command::Audit(command) => refusal::audit(&args.global, command).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the output has seen enough.
        Err(error) if error.chain().any(is_broken_pipe) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ccnode: {}", said(&error));
            ExitCode::from(client::exit_code(&error))
        }
    }
}

fn is_broken_pipe(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

/// The causes, outermost first, without those that another one's text holds already.
fn said(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.contains(&cause) {
            let colon = if text.is_empty() { "" } else { ": " };
            text.push_str(&format!("{colon}{cause}"));
        }
    }
    text
}
