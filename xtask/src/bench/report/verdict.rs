//! A row held against its goal, on one machine.

use super::findings::Measured;
use crate::bench::goals::{Goal, MACHINES, Most};

/// What came of a goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// At most what it is to cost.
    Reached,
    /// More than that.
    Missed,
    /// There is no such row.
    NotMeasured,
    /// There is no goal, or it hangs on a row that is not there.
    NoGoal,
}

/// A row's figures on a machine.
#[derive(Debug)]
pub struct Verdict<'a> {
    pub goal: &'static Goal,
    pub machine: &'a Measured,
    pub outcome: Outcome,
    /// What it costs.
    pub ours: Option<f64>,
    /// What it is to cost at most.
    pub most: Option<f64>,
    /// What ArceOS takes, here or as the authors measured it.
    pub arceos: Option<f64>,
    /// Whether that was measured here.
    pub arceos_here: bool,
    /// What Linux takes, as the authors measured it.
    pub linux: Option<f64>,
}

impl<'a> Verdict<'a> {
    /// `None` on a machine that no goals are set for.
    pub fn new(goal: &'static Goal, machine: &'a Measured) -> Option<Self> {
        let index = MACHINES.iter().position(|arch| *arch == machine.arch)?;
        let ours = machine.ours(goal.row);
        let most = goal.most[index].value(&machine.rows);
        let here = machine.arceos(goal.row);
        Some(Self {
            goal,
            machine,
            outcome: match (ours, most) {
                (None, _) => Outcome::NotMeasured,
                (_, None) => Outcome::NoGoal,
                (Some(ours), Some(most)) if ours <= most => Outcome::Reached,
                _ => Outcome::Missed,
            },
            ours,
            most,
            arceos: here.or(goal.arceos[index]),
            arceos_here: here.is_some(),
            linux: goal.linux[index],
        })
    }

    /// What it is to cost at most, as it was set.
    pub fn set(&self) -> Most {
        let index = MACHINES.iter().position(|arch| *arch == self.machine.arch);
        index.map_or(Most::Any, |index| self.goal.most[index])
    }

    /// How many times ours `other` is; `None` where a ratio says nothing.
    pub fn times(&self, other: Option<f64>) -> Option<f64> {
        times(self.ours?, other?)
    }

    /// Whether it must be listed with a reason.
    pub fn falls_short(&self) -> bool {
        matches!(self.outcome, Outcome::Missed | Outcome::NotMeasured)
    }

    /// Why it falls short.
    pub fn reason(&self) -> &'static str {
        match self.outcome {
            _ if !self.goal.reason.is_empty() => self.goal.reason,
            Outcome::NotMeasured => "apps/mmbench has no such row yet.",
            _ => "Not looked into yet: it is new, or a change has made it dearer.",
        }
    }

    /// What is to be tried next.
    pub fn next(&self) -> &'static str {
        match self.outcome {
            _ if !self.goal.next.is_empty() => self.goal.next,
            Outcome::NotMeasured => "Add the row.",
            _ => "Count by function, and compare with earlier revisions.",
        }
    }
}

/// How many times `ours` the value `other` is; `None` where a ratio says nothing.
pub fn times(ours: f64, other: f64) -> Option<f64> {
    (ours > 0.0 && other > 0.0).then(|| other / ours)
}
