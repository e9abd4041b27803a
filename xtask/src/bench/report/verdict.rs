//! Compares a row with its goal, on one machine.

use super::findings::Measured;
use crate::bench::cost_goals::{ARCHS, Goal, Limit};

/// Whether a goal is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The cost is within the limit.
    Reached,
    /// The cost is above the limit.
    Missed,
    /// The row was not measured.
    NotMeasured,
    /// There is no goal, or it refers to a row that was not measured.
    NoGoal,
}

/// A row's figures on a machine, and whether it reaches its goal.
#[derive(Debug)]
pub struct Verdict<'a> {
    pub goal: &'static Goal,
    pub machine: &'a Measured,
    pub outcome: Outcome,
    /// Our cost, in instructions.
    pub ours: Option<f64>,
    /// The largest cost that reaches the goal, in instructions.
    pub limit: Option<f64>,
    /// The cost in ArceOS, as measured on this computer or else by the authors.
    pub arceos: Option<f64>,
    /// Whether ArceOS was measured on this computer.
    pub arceos_here: bool,
    /// The cost in Linux, as the authors measured it.
    pub linux: Option<f64>,
}

impl<'a> Verdict<'a> {
    /// Compares the row of a goal. Returns `None` on a machine without goals.
    pub fn new(goal: &'static Goal, machine: &'a Measured) -> Option<Self> {
        let index = ARCHS.iter().position(|arch| *arch == machine.arch)?;
        let ours = machine.ours(goal.row);
        let limit = goal.limit[index].value(&machine.rows);
        let here = machine.arceos(goal.row);
        Some(Self {
            goal,
            machine,
            outcome: match (ours, limit) {
                (None, _) => Outcome::NotMeasured,
                (_, None) => Outcome::NoGoal,
                (Some(ours), Some(limit)) if ours <= limit => Outcome::Reached,
                _ => Outcome::Missed,
            },
            ours,
            limit,
            arceos: here.or(goal.arceos[index]),
            arceos_here: here.is_some(),
            linux: goal.linux[index],
        })
    }

    /// Returns the goal's limit as it was set, perhaps relative to another row.
    pub fn limit_as_set(&self) -> Limit {
        let index = ARCHS.iter().position(|arch| *arch == self.machine.arch);
        index.map_or(Limit::Unlimited, |index| self.goal.limit[index])
    }

    /// Returns another project's cost divided by ours. `None` if either is unknown, or is not
    /// above 0.
    pub fn times(&self, other: Option<f64>) -> Option<f64> {
        times(self.ours?, other?)
    }

    /// Returns whether the goal is listed among the missed ones, with a reason. So is a goal
    /// whose row was not measured.
    pub fn is_missed(&self) -> bool {
        matches!(self.outcome, Outcome::Missed | Outcome::NotMeasured)
    }

    /// Returns why the goal is missed.
    pub fn reason(&self) -> &'static str {
        match self.outcome {
            _ if !self.goal.reason.is_empty() => self.goal.reason,
            Outcome::NotMeasured => "apps/mmbench has no such row yet.",
            _ => "Not analysed yet: the row is new, or a change has increased its cost.",
        }
    }

    /// Returns what to try next.
    pub fn next(&self) -> &'static str {
        match self.outcome {
            _ if !self.goal.next.is_empty() => self.goal.next,
            Outcome::NotMeasured => "Add the row.",
            _ => "Count the instructions by function, and compare with earlier revisions.",
        }
    }
}

/// Returns `other` divided by `ours`. `None` unless both are above 0.
pub fn times(ours: f64, other: f64) -> Option<f64> {
    (ours > 0.0 && other > 0.0).then(|| other / ours)
}
