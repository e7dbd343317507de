//! Several boxes drop their copies of one file at once. Each locks itself, then its holders one by one,
//! reads their copies, removes its own and lets go: every order in which these steps can happen is
//! played with the real locks on real files, and at no instant are there too few copies.
//!
//! Why it holds: who removes is itself locked from before it counts until after it has removed, so nobody
//! counts a copy that is about to go. Of all that remove, the last to count counted copies that stay.
//! So it does not even matter when a connection is lost, and with it the lock on a holder, between the
//! count and the removal.

use std::collections::HashSet;

use super::*;
use crate::fetch::holders::{Held, Holders};
use crate::hash::hash_path;
use crate::lock::{self, Lock};

/// What one box can do next, or what can happen to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Locks itself, asks the next holder, removes, or lets go.
    Next(usize),
    /// Loses the connections to its holders.
    Lost(usize),
    /// Is killed.
    Killed(usize),
}

/// How far a box has come; equal states have equal futures.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum At {
    Begin,
    /// Has asked so many of the others, of which these hold it and are (not) locked by it.
    Asking(usize, Vec<(usize, bool)>),
    Removed(Vec<(usize, bool)>),
    End,
}

/// What can go wrong in a game.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bad {
    Nothing,
    LossAndKill,
}

/// A mistake that the protocol could have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// It does not lock itself.
    NoOwnLock,
}

struct Dropper {
    at: At,
    lock: Option<Lock>,
    holders: Holders,
}

struct Game {
    world: World,
    names: Vec<String>,
    needed: usize,
    droppers: Vec<Dropper>,
    mistake: Mistake,
}

impl Game {
    fn new(boxes: usize, needed: usize, mistake: Mistake) -> Self {
        let world = World::new();
        let names: Vec<String> = (0..boxes).map(|n| format!("box{n}")).collect();
        for name in &names {
            fs::create_dir(world.at(name)).unwrap();
            world.write(&format!("{name}/.ltr"), &format!("../index/{name}\n"));
        }
        let mut game = Self { world, names, needed, droppers: Vec::new(), mistake };
        game.begin();
        game
    }

    /// Every box has its copy, and has done nothing yet.
    fn begin(&mut self) {
        self.droppers.clear();
        for name in &self.names {
            if !self.world.at(name).join("a").exists() {
                self.world.write(&format!("{name}/a"), "hello");
            }
            self.droppers.push(Dropper { at: At::Begin, lock: None, holders: Holders::default() });
        }
    }

    fn copies(&self) -> usize {
        self.names.iter().filter(|name| self.world.at(name).join("a").exists()).count()
    }

    fn action(&self, who: usize) -> Action {
        let others = (1..self.names.len()).map(|n| &self.names[(who + n) % self.names.len()]);
        let from: Vec<Value> =
            others.map(|name| json!({"box":name,"url":self.world.at(name).to_str().unwrap(),"path":"/a"})).collect();
        let action = self.world.action("remove", "/a", "hello", json!({"from":from,"mincopies":self.needed}));
        serde_json::from_value(action).unwrap()
    }

    /// What can happen next.
    fn steps(&self, bad: Bad) -> Vec<Step> {
        let running = (0..self.droppers.len()).filter(|&who| self.droppers[who].at != At::End);
        let mut steps: Vec<Step> = running.clone().map(Step::Next).collect();
        if bad == Bad::LossAndKill {
            steps.extend(running.clone().filter(|&who| self.droppers[who].at != At::Begin).map(Step::Killed));
            let has_locks = |at: &At| matches!(at, At::Asking(_, seen) if seen.iter().any(|s| s.1));
            steps.extend(running.filter(|&who| has_locks(&self.droppers[who].at)).map(Step::Lost));
        }
        steps
    }

    fn play(&mut self, step: Step) {
        match step {
            Step::Next(who) => self.next(who),
            Step::Killed(who) => self.stop(who),
            Step::Lost(who) => {
                self.droppers[who].holders = Holders::default();
                if let At::Asking(_, seen) = &mut self.droppers[who].at {
                    seen.iter_mut().for_each(|s| s.1 = false);
                }
            }
        }
    }

    fn stop(&mut self, who: usize) {
        self.droppers[who] = Dropper { at: At::End, lock: None, holders: Holders::default() };
    }

    fn next(&mut self, who: usize) {
        match self.droppers[who].at.clone() {
            At::Begin => match lock::take(&self.root(who)) {
                Ok(lock) => {
                    self.droppers[who].lock = (self.mistake == Mistake::None).then_some(lock);
                    self.droppers[who].at = At::Asking(0, Vec::new());
                }
                Err(_) => self.stop(who),
            },
            At::Asking(_, seen) if seen.len() == self.needed => {
                let (root, action) = (self.root(who), self.action(who));
                let hashed = hash_path(&root, &action.path).unwrap();
                assert!(self.world.with_run_of(&self.names[who], |run| run.unlink_verified(&action, &hashed)).unwrap());
                self.droppers[who].at = At::Removed(seen);
            }
            At::Asking(asked, _) if asked + 1 == self.names.len() => self.stop(who),
            At::Asking(asked, mut seen) => {
                if self.ask(who, asked) {
                    seen.push(((who + 1 + asked) % self.names.len(), true));
                }
                self.droppers[who].at = At::Asking(asked + 1, seen);
            }
            At::Removed(_) | At::End => self.stop(who),
        }
    }

    /// Whether the next of the others holds the file; it stays locked.
    fn ask(&mut self, who: usize, asked: usize) -> bool {
        let action = self.action(who);
        let ssh = Ssh::new("ssh", true).unwrap();
        let options = options(&ssh);
        let sources = Sources::new(&self.names[who], &options);
        let holders = &mut self.droppers[who].holders;
        let held = holders.holds(&sources, &action.from[asked], &action, &options, &mut Collected::default());
        matches!(held, Held::Seen)
    }

    fn root(&self, who: usize) -> BoxRoot {
        BoxRoot::open(&self.world.at(&self.names[who])).unwrap()
    }

    fn state(&self) -> (Vec<At>, Vec<bool>) {
        let holds = |name: &String| self.world.at(name).join("a").exists();
        (self.droppers.iter().map(|d| d.at.clone()).collect(), self.names.iter().map(holds).collect())
    }
}

/// Plays every order of steps; returns the number of states, and the first order that leaves too few copies.
fn explore(boxes: usize, needed: usize, bad: Bad, mistake: Mistake) -> (usize, Option<Vec<Step>>) {
    let (mut seen, mut orders) = (HashSet::new(), vec![Vec::new()]);
    let mut game = Game::new(boxes, needed, mistake);
    while let Some(order) = orders.pop() {
        game.begin();
        order.iter().for_each(|&step| game.play(step));
        if game.copies() < needed {
            return (seen.len(), Some(order));
        }
        if seen.insert(game.state()) {
            orders.extend(game.steps(bad).into_iter().map(|step| [order.as_slice(), &[step]].concat()));
        }
    }
    (seen.len(), None)
}

#[test]
fn in_every_order_of_steps_enough_copies_stay() {
    use Bad::{LossAndKill, Nothing};
    let mut games = vec![(2, 1, LossAndKill), (3, 1, LossAndKill), (3, 2, LossAndKill), (4, 1, Nothing)];
    if std::env::var_os("LTR_SOAK").is_some() {
        games.extend([(4, 1, LossAndKill), (4, 2, LossAndKill), (4, 3, LossAndKill)]);
    }
    let mut states = 0;
    for (boxes, needed, bad) in games {
        let (count, lost) = explore(boxes, needed, bad, Mistake::None);
        assert_eq!(lost, None, "{boxes} boxes, mincopies {needed}");
        states += count;
    }
    assert!(states > 1000, "{states}");
}

#[test]
fn the_game_finds_a_protocol_that_loses_the_last_copy() {
    let (_, lost) = explore(2, 1, Bad::LossAndKill, Mistake::NoOwnLock);
    assert!(lost.is_some());
}

#[test]
fn one_after_the_other_drops_what_is_more_than_needed() {
    for (boxes, needed) in [(2, 1), (3, 1), (4, 1), (4, 2), (4, 3)] {
        let mut game = Game::new(boxes, needed, Mistake::None);
        for who in 0..boxes {
            while game.droppers[who].at != At::End {
                game.next(who);
            }
        }
        assert_eq!(game.copies(), needed);
    }
}
