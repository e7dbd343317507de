//! Carrying out a plan, so that at no instant content can be lost (design section 10).
//!
//! The plan is read whole. Then, in path order, folders are made, content is staged, checked and
//! synced a batch at a time, and put in its place by renames that replace nothing unseen; in reverse
//! order copies are removed; last, folders get their modes and times. Every step first looks whether
//! an earlier run has done it, so that after a kill the same plan completes what it began.

mod batch;
mod bulk;
mod copier;
mod examine;
mod folders;
mod follow;
mod foreign;
mod holders;
mod install;
mod journal;
mod look;
pub(crate) mod movers;
pub mod names;
mod output;
mod plan;
pub(crate) mod program;
mod recover;
mod remove;
pub(crate) mod shelf;
mod sources;
pub(crate) mod ssh;
mod staging;
pub mod tar;
#[cfg(test)]
mod tests;
pub(crate) mod transfer;
pub mod verify;
mod warm;
mod window;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, Write};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::Result;
use serde_json::{Map, json};

use crate::boxfs::{BoxRoot, STAGING, Stat, shown};
use crate::cookie::Cookie;
use crate::couch::places::Places;
use crate::exit::Exit;
use crate::lines::lines;
use crate::path::SpacePath;
use crate::record::{Action, Attrs, Ftype, Sha1, Source, Verb};
use crate::report::Report;
use crate::ssh::Ssh;
use crate::stamp::Clock;
use crate::stream::{ErrorRecord, Writer};
use crate::version::Version;

pub use foreign::stage;
pub use look::vouched;
pub use verify::verify_stream;

use movers::Movers;
use output::{Output, Teller, Verified};
use plan::Plan;
use sources::Sources;
use staging::Staging;
use warm::Warm;
use window::Window;

/// On whose behalf entries are written.
#[derive(Debug)]
pub struct Me<'a> {
    /// Issues the stamps.
    pub clock: &'a mut Clock,
    /// Counts this box's edits: what is kept under a conflict name is one.
    pub actor: u32,
    /// The box's commit counter.
    pub commit: u64,
}

/// What a plan must keep to.
#[derive(Clone, Copy)]
pub struct Bounds<'a> {
    /// Remove more than half of the box, if the plan says so.
    pub gone_ok: bool,
    /// Files that the box has by the index, for the question what half of it is. Asked only of a plan that removes
    /// many, since all rows are counted.
    pub total_files: &'a dyn Fn() -> Result<u64>,
    /// Bytes that stay free on the box's file system.
    pub reserve: u64,
}

/// What a person or the box's settings decide.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Of what would go beyond these nothing is begun.
    pub bounds: Bounds<'a>,
    /// This machine's name: a box at it is a folder here.
    pub my_host: Option<&'a str>,
    /// The space of the box: one of the same name in another space is another box.
    pub uuid: Option<&'a str>,
    /// Where replicas are, which tell the space of a box in a database.
    pub places: Option<&'a Places>,
    /// Reaches other machines.
    pub ssh: &'a Ssh,
    /// How many of them are fetched from at once.
    pub jobs: usize,
    /// KiB a second that each program that fetches may take.
    pub limit: Option<u64>,
    /// Whether a box out of reach counts as a holder nevertheless (`--trust-offline`).
    pub trusted: &'a dyn Fn(&Source, Sha1) -> bool,
    /// Whether a later pull may bring a content: then what is there of it stays.
    pub awaited: &'a dyn Fn(Sha1) -> bool,
    /// The content of a file of this box that looks like this, where its looks prove that it is what the index says.
    pub vouched: &'a dyn Fn(&SpacePath, &Stat) -> Option<Sha1>,
}

/// Carries out the plan in `input` in the box at `root`, whose lock the caller holds. `spool` is an
/// empty file that keeps the plan. `output` gets the entries as they now are on disk, and after those
/// of each step the step itself with the type `done`; what failed is reported, and has an error record.
///
/// # Errors
/// The plan is cut short, damaged, not for this box, would remove too much or does not fit: then
/// nothing was touched. The output cannot be written.
pub fn fetch<R: BufRead, W: Write + Send>(
    root: &BoxRoot,
    input: R,
    output: W,
    spool: File,
    me: &mut Me<'_>,
    options: &Options<'_>,
    report: &mut dyn Report,
) -> Result<Exit> {
    let box_name = Cookie::read(root)?.box_name;
    let sources = &Sources::new(&box_name, options);
    std::thread::scope(|scope| {
        let mut warm = Warm::new(sources, scope, options.jobs, options.limit.is_none());
        let plan = Plan::load(root, &box_name, input, spool, &mut |action| warm.see(action));
        warm.notices.iter().for_each(|notice| report.notice(notice));
        carry_out(root, &box_name, plan?, sources, output, me, options, report)
    })
}

/// Whether [`fetch`] would begin with the plan in `input`, and with all of its steps: those that are bad are reported.
/// Nothing is touched.
///
/// # Errors
/// It would not, and why.
pub fn check<R: BufRead>(root: &BoxRoot, input: R, spool: File, bounds: &Bounds<'_>, report: &mut dyn Report) -> Result<Exit> {
    let plan = Plan::load(root, &Cookie::read(root)?.box_name, input, spool, &mut |_| {})?;
    plan.guard(root, bounds)?;
    plan.bad.iter().for_each(|bad| report.failure(&bad.path, &bad.error));
    Ok(Exit::of_failures((plan.errors.len() + plan.bad.len()) as u64))
}

/// What [`fetch`] does with a plan that is whole.
#[allow(clippy::too_many_arguments, reason = "half of what fetch was given, and what it made of the other half")]
fn carry_out<W: Write + Send>(
    root: &BoxRoot,
    box_name: &str,
    mut plan: Plan,
    sources: &Sources<'_>,
    output: W,
    me: &mut Me<'_>,
    options: &Options<'_>,
    report: &mut dyn Report,
) -> Result<Exit> {
    plan.guard(root, &options.bounds)?;
    let mut writer = Writer::new(output);
    for bad in &plan.bad {
        report.failure(&bad.path, &bad.error);
    }
    for error in plan.errors.iter().chain(&plan.bad) {
        writer.put_error(error)?;
    }
    for &offset in &plan.foreign {
        writer.put_raw(&plan.line(offset)?)?;
    }
    // with nothing to do there may be something to put right
    let left = SpacePath::from_relative(STAGING.as_bytes()).is_ok_and(|at| root.look(&at).is_ok_and(|s| s.is_some()));
    if left || !plan.forward.is_empty() || !plan.removes.is_empty() {
        let staging = Staging::open(root)?;
        let mut run = Run {
            root,
            staging,
            actor: me.actor,
            commit: me.commit,
            report,
            sources,
            vouched: options.vouched,
            needed: plan.needs.values().filter_map(|need| need.sha1).chain(std::mem::take(&mut plan.twice)).collect(),
            needs: std::mem::take(&mut plan.needs),
            served: HashSet::new(),
            vacated: HashSet::new(),
            have_at: HashMap::new(),
            own_folder: None,
            made: None,
            set_aside: Vec::new(),
            displaced: HashMap::new(),
            came_from: HashMap::new(),
            failed_at: HashSet::new(),
            came: HashMap::new(),
            verified: Vec::new(),
            failed: Vec::new(),
            failures: plan.bad.len() as u64,
            bytes_done: 0,
            bytes_total: plan.bytes,
            files_done: 0,
            files_total: plan.files,
            begun: Instant::now(),
            transfers: BTreeMap::new(),
        };
        // what it looks at is not what the run has before it
        let own = root.another();
        let root = own.as_ref().unwrap_or(root);
        let teller = Teller { root, box_name, commit: me.commit, clock: Mutex::new(&mut *me.clock) };
        writer = lines(
            writer,
            |line, writer| teller.write(line, writer),
            |lines| {
                let mut output = Output::new(lines);
                run.passes(&plan, options, &mut output)?;
                output.emit(&mut run)
            },
        )?;
        for (name, transferred) in &run.transfers {
            writer.put(&json!({"type": "transfer", "box": name, "files": transferred.files, "bytes": transferred.bytes, "ms": transferred.ms}))?;
        }
    }
    let errors = writer.end(Map::new())?;
    Ok(Exit::of_failures(errors))
}

/// What the steps of one run share.
struct Run<'a> {
    root: &'a BoxRoot,
    staging: Staging<'a>,
    actor: u32,
    commit: u64,
    report: &'a mut dyn Report,
    sources: &'a Sources<'a>,
    vouched: &'a dyn Fn(&SpacePath, &Stat) -> Option<Sha1>,
    needs: HashMap<SpacePath, plan::Need>,
    /// Of the steps that need these, the paths of those that have what they need.
    served: HashSet<SpacePath>,
    /// The content of these.
    needed: HashSet<Sha1>,
    /// What this run itself moved away: missing there is not deleted.
    vacated: HashSet<SpacePath>,
    /// Where content that several steps need was put.
    have_at: HashMap<Sha1, SpacePath>,
    /// The folder that was last found to be this box's, not a nested one's.
    own_folder: Option<SpacePath>,
    /// The folder that this run made last.
    made: Option<SpacePath>,
    /// What this run took out of its place for a later step.
    set_aside: Vec<SpacePath>,
    /// What an interrupted run took out of a path and left in the staging folder, by that path.
    displaced: HashMap<SpacePath, Vec<SpacePath>>,
    /// Where what it had set aside came from.
    came_from: HashMap<SpacePath, SpacePath>,
    /// Of these paths, those whose step failed.
    failed_at: HashSet<SpacePath>,
    /// Of content that is staged: the number of its source, and how it came from another machine.
    came: HashMap<SpacePath, (usize, Option<&'static str>)>,
    /// Other boxes that were seen to hold a content, to be told.
    verified: Vec<Verified>,
    /// What failed, to be told.
    failed: Vec<ErrorRecord>,
    failures: u64,
    bytes_done: u64,
    bytes_total: u64,
    files_done: u64,
    files_total: u64,
    begun: Instant,
    /// What came from other machines, by box.
    transfers: BTreeMap<String, Transferred>,
}

/// What came from a box on another machine.
#[derive(Debug, Default)]
struct Transferred {
    files: u64,
    bytes: u64,
    /// Milliseconds from the beginning of the run to the last of them.
    ms: u64,
}

/// One thing that is now so at a path.
#[derive(Clone)]
struct Fact {
    path: SpacePath,
    attrs: Attrs,
    present: bool,
    purged: bool,
    moved: Option<SpacePath>,
    /// The commit that made it; of what came from elsewhere, none: a pull is no commit.
    commit: Option<u64>,
    version: Version,
    /// As it was right after it was put there; none for what is absent.
    stat: Option<Stat>,
}

impl Fact {
    /// The path of an action as the action wanted it.
    fn of(action: &Action, stat: Option<Stat>) -> Self {
        Self {
            path: action.path.clone(),
            attrs: action.attrs(),
            present: stat.is_some(),
            purged: false,
            moved: None,
            commit: None,
            version: action.version.clone(),
            stat,
        }
    }
}

impl<'a> Run<'a> {
    fn passes(&mut self, plan: &Plan, options: &Options<'_>, output: &mut Output<'_, '_, '_>) -> Result<()> {
        self.recover(plan)?;
        let (mut folders, mut deferred) = (Vec::new(), Vec::new());
        self.forward(plan, &plan.forward, &mut folders, Some(&mut deferred), options, output)?;
        self.removes(plan, options, output)?;
        // a file that takes the place of a folder, which the removes have emptied
        self.forward(plan, &deferred, &mut folders, None, options, output)?;
        self.finish_folders(plan, &folders, output)?;
        self.settle_rest(output)?;
        self.clean_up(plan, options);
        Ok(())
    }

    /// Everything but removes and the modes of folders. `deferred` takes steps that removes precede.
    fn forward(
        &mut self,
        plan: &Plan,
        steps: &[u64],
        folders: &mut Vec<u64>,
        deferred: Option<&mut Vec<u64>>,
        options: &Options<'_>,
        output: &mut Output<'_, '_, '_>,
    ) -> Result<()> {
        let (tell, events) = std::sync::mpsc::channel();
        let movers = Movers::new(self.staging.shelf(), options.jobs, options.limit, steps.len(), tell);
        std::thread::scope(|scope| {
            let mut window = Window::new(&movers, scope, events);
            let done = self.steps(plan, steps, folders, deferred, &mut window, output);
            movers.close();
            done
        })
    }

    fn steps(
        &mut self,
        plan: &Plan,
        steps: &[u64],
        folders: &mut Vec<u64>,
        mut deferred: Option<&mut Vec<u64>>,
        window: &mut Window<'_, '_, '_>,
        output: &mut Output<'_, '_, '_>,
    ) -> Result<()> {
        for &step in steps {
            let action = plan.action(step)?;
            if let Some(deferred) = &mut deferred
                && self.waits_for_removes(&action)
            {
                deferred.push(step);
                continue;
            }
            if action.ftype == Ftype::Dir && action.action != Verb::Move {
                if let Some(kept) = self.make_folder(&action) {
                    folders.push(step);
                    kept.into_iter().for_each(|fact| output.finished(fact));
                    // its entry follows when it has its mode
                    output.begun(action)?;
                }
                continue;
            }
            // a folder that moves takes along what later steps look at
            let alone = action.ftype == Ftype::Dir;
            if alone {
                self.flush(window, output)?;
            }
            self.add(window, action, output)?;
            if alone {
                self.flush(window, output)?;
            }
        }
        self.flush(window, output)
    }

    /// Names a failure; the rest of the plan goes on.
    fn fail(&mut self, path: &SpacePath, cause: &anyhow::Error) {
        if self.displaced.contains_key(path) {
            self.failed_at.insert(path.clone());
        }
        let cause = format!("{cause:#}");
        self.failures += 1;
        self.report.failure(&shown(path), &cause);
        self.failed.push(ErrorRecord { path: path.spelled(), error: cause });
    }
}
