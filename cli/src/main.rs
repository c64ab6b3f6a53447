//! `ccnode`, the administrators' tool: builds and measures images, and runs the pools of a trust service.

mod admin;
mod args;
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
        Command::Audit(command) => refusal::audit(&args.global, command).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ccnode: {error:#}");
            ExitCode::from(client::exit_code(&error))
        }
    }
}
