//! ltr-lock [--root DIR] COMMAND [ARG...] - run a command while nobody else may write to the box

mod cli;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Context;
use clap::Parser;
use litter::exit::Exit;
use litter::lock;

/// Locks the box and runs a command, which may write to it. Exits 3 when somebody else holds it.
#[derive(Parser)]
#[command(name = "ltr-lock", version)]
struct Args {
    /// The box's root; else the box around the current folder
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Only tell whether a process above holds the lock of this box: exit 0, or 3
    #[arg(long)]
    held: bool,
    /// What to run
    #[arg(required_unless_present = "held", trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

fn main() -> ExitCode {
    cli::run(|args: Args, _report| {
        let root = cli::box_root(args.root)?;
        let above = cli::lock_above();
        let is_held = above.is_some_and(|fd| lock::inherited(fd, &root));
        if args.held {
            return Ok(if is_held { Exit::Done } else { Exit::Nothing });
        }
        let [program, arguments @ ..] = args.command.as_slice() else { anyhow::bail!("no command") };
        let mut command = Command::new(program);
        let held;
        if !is_held {
            held = lock::take(&root)?;
            command.env(lock::LOCK_FD, held.hand_down()?.to_string());
        }
        // returns only when it fails; the lock lives on in the descriptor that the command inherits
        let error = command.args(arguments).exec();
        Err(error).with_context(|| format!("cannot run {}", program.display()))
    })
}
