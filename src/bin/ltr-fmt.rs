//! ltr-fmt TEMPLATE | --csv FIELDS | --table FIELDS | --json | --letters | --stat | --steps - records as text for people

#[path = "cli/mod.rs"]
mod cli;

use std::path::{PathBuf, absolute};
use std::process::ExitCode;

use clap::{ArgGroup, Parser};
use jiff::tz::TimeZone;
use litter::show::{self, Columns, Mode, Style, Template};

/// Show the records on stdin as text for people and spreadsheets.
#[derive(Parser)]
#[command(name = "ltr-fmt", version)]
#[command(group = ArgGroup::new("mode").required(true).args(["template", "csv", "table", "letters", "stat", "steps", "json"]))]
struct Args {
    /// A line for each record: {field}, {size:h}, {mtime:t}, {sha1:8}, \n, \t, \0
    template: Option<Template>,

    /// Comma separated values of these fields, with a header
    #[arg(long, value_name = "FIELDS")]
    csv: Option<Columns>,

    /// An aligned table of these fields, with a header
    #[arg(long, value_name = "FIELDS")]
    table: Option<Columns>,

    /// Status letters and paths
    #[arg(long)]
    letters: bool,

    /// With --letters: also what is in sync (C)
    #[arg(long, requires = "letters")]
    all: bool,

    /// With --letters: coloured letters, on a terminal and without NO_COLOR
    #[arg(long, requires = "letters")]
    color: bool,

    /// The records as they are, with the exit status that their trailer calls for
    #[arg(long)]
    json: bool,

    /// Everything about a path, a block of lines each (records of ltr-index-stat)
    #[arg(long)]
    stat: bool,

    /// The steps of a plan as commands
    #[arg(long, requires = "root")]
    steps: bool,

    /// With --steps: the box's root folder
    #[arg(long, value_name = "DIR", requires = "steps")]
    root: Option<PathBuf>,

    /// End lines with NUL, and leave names as they are even on a terminal
    #[arg(short = '0', long = "null", conflicts_with_all = ["csv", "table"])]
    nul: bool,
}

fn main() -> ExitCode {
    cli::run(|args: Args, report| {
        if args.json {
            return show::pass(cli::stdin(), cli::stdout());
        }
        let terminal = cli::stdout_is_terminal();
        let nul = args.nul;
        let mode = mode(args, terminal)?;
        let zone = if mode.tells_time() { TimeZone::system() } else { TimeZone::UTC };
        let style = Style { mode, terminal, shared: terminal && cli::shows_progress(), nul, zone };
        show::format(cli::stdin(), cli::raw_stdout(), &style, report)
    })
}

/// The group of arguments has made sure that exactly one is there.
fn mode(args: Args, terminal: bool) -> std::io::Result<Mode> {
    Ok(match args {
        Args { template: Some(template), .. } => Mode::Template(template),
        Args { csv: Some(columns), .. } => Mode::Csv(columns),
        Args { table: Some(columns), .. } => Mode::Table(columns),
        Args { stat: true, .. } => Mode::Stat,
        Args { root: Some(root), .. } if is_elsewhere(&root) => Mode::Steps { root },
        Args { root: Some(root), .. } => Mode::Steps { root: absolute(root)? },
        Args { all, color, nul, .. } => Mode::Letters { all, color: color && terminal && !nul && !no_color() },
    })
}

/// <https://no-color.org>: set and not empty.
fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// Whether a root is `[user@]host:/path`: that of a box that is pushed to.
fn is_elsewhere(root: &std::path::Path) -> bool {
    root.to_str().is_some_and(|root| {
        !root.starts_with(['/', '.']) && litter::space::Remote::parse(root).is_ok_and(|remote| remote.is_some())
    })
}
