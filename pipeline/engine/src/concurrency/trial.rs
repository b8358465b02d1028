//! Trials: another number for one or two windows, between windows of the present one.

use super::reading::{Around, Reading};
use super::search::{DRIFT, Phase, Search};
use super::step::{Step, figures, home};
use super::{Knob, Reason};

/// A trial ends early if its worth is more than this many standard deviations away from 0.
const SURE: f64 = 2.5;

/// If half of a trial has a larger standard deviation than this, the other half would not help: the belief decides.
const UNCERTAIN: f64 = 0.1;

impl Search {
    /// Begins a trial of another number when it is time.
    pub(super) fn start_trial(
        &mut self,
        now: f64,
        around: &Around<'_>,
        reading: &Reading,
        before: u64,
    ) -> Option<Step> {
        if !around.mix.is_known {
            // It is not known yet how long a trial must be, and the cost of a transaction may call for a larger step.
            return None;
        }
        let alone = self.processes == 1;
        let size = around.full && self.size().due <= now && self.size().due <= self.concurrency.due;
        let axis = self.axis(if size { Knob::Records } else { Knob::Concurrency });
        if axis.due > now {
            return None;
        }
        let knob = axis.knob;
        let from = around.of(knob).0;
        let Some(to) = axis.next_trial(now, around, alone) else {
            axis.tried(now, false, 0.0, 0.0);
            return None;
        };
        let figures = figures(axis, from, to, reading);
        if knob == Knob::Records {
            axis.tried_at = around.concurrency;
        }
        self.phase = Phase::Try { knob, from, before, first: None };
        let step = Step { knob, from, to, reason: Reason::Trial, figures };
        self.open_with(now, around, &step);
        Some(step)
    }

    /// Half of a trial is over. It ends here if its result is clear (its number stays if that is better), if it only
    /// showed what was well known, or if larger transactions are believed to be better and no trial could tell.
    pub(super) fn judge(
        &mut self,
        now: f64,
        around: &Around<'_>,
        (knob, from): (Knob, usize),
        [before, first]: [u64; 2],
    ) -> Option<Step> {
        let before = self.reading(before, now, around).filter(|reading| reading.is_of(knob))?;
        let first = self.reading(first, now, around).filter(|reading| reading.is_of(knob))?;
        let tried = around.of(knob).0;
        // A drift is not cancelled here by a window after the trial.
        let variance = before.variance(knob) + first.variance(knob) + 2.0 * DRIFT;
        let (ratio, variance) = self.gained(knob, from, tried, first.level(knob) - before.level(knob), variance);
        let evidence = self.evidence(knob);
        let worth = evidence.worth_of(from, tried, ratio);
        let clear = worth.abs() > SURE * variance.sqrt();
        // Larger transactions are mostly better, and going on would cost seconds at the worse size.
        let leaps = !clear
            && knob == Knob::Records
            && tried > from
            && variance.sqrt() > UNCERTAIN
            && evidence.would_leave(from, tried, (ratio, variance), around.records_most);
        if !leaps && !clear && !evidence.is_as_believed(from, tried, ratio, variance) {
            return None;
        }
        let better = leaps || clear && worth > 0.0;
        self.worked(first.seconds);
        let surprised = self.evidence(knob).compared(from, tried, ratio, variance);
        let lost_seconds = (1.0 - ratio.exp()).max(0.0) * 2.0 * first.seconds;
        self.axis(knob).tried(now, surprised || better, first.seconds, lost_seconds);
        self.phase = Phase::Watch;
        self.forget_usual();
        let step = if better {
            self.stay(around, (knob, from), &first)
        } else {
            home(knob, tried, from, vec![("goodput_part_of_before", ratio.exp()), ("deviation_part", variance.sqrt())])
        };
        self.open_with(now, around, &step);
        Some(step)
    }

    /// The tried number is better: it stays, or the search goes further at once if that is believed to be better still.
    fn stay(&mut self, around: &Around<'_>, (knob, from): (Knob, usize), reading: &Reading) -> Step {
        let tried = around.of(knob).0;
        let more = tried > from;
        self.hurried = true;
        self.axis(knob).turn(more);
        let reason = if more { Reason::MoreIsFaster } else { Reason::FewerAreEnough };
        let further = self.better(knob, around, reading).filter(|step| step.to != tried && (step.to > tried) == more);
        further.unwrap_or_else(|| Step {
            knob,
            from,
            to: tried,
            reason,
            figures: figures(self.axis(knob), from, tried, reading),
        })
    }

    /// A trial is over: compares the window before, the two windows of the trial and the window after.
    pub(super) fn compare(
        &mut self,
        now: f64,
        around: &Around<'_>,
        (knob, tried): (Knob, usize),
        windows: [u64; 4],
    ) -> Option<Step> {
        let [before, first, second, after] =
            windows.map(|id| self.reading(id, now, around).filter(|reading| reading.is_of(knob)));
        self.axis(knob).postpone(now);
        let before = before?;
        let first = first?;
        let second = second?;
        let after = after?;
        self.worked(first.seconds + second.seconds + after.seconds);
        let one = first.level(knob) - before.level(knob);
        let one_variance = before.variance(knob) + first.variance(knob);
        let other = second.level(knob) - after.level(knob);
        let other_variance = second.variance(knob) + after.variance(knob);
        // Each half is weighed by its precision; if the halves disagree by more than their error, that is the error.
        let part = other_variance / (one_variance + other_variance);
        let ratio = part * one + (1.0 - part) * other;
        let variance = (part * one_variance).max(part * (1.0 - part) * (one - other) * (one - other));
        let surprised = self.learn(knob, around.of(knob).0, tried, ratio, variance);
        let lasted = first.seconds + second.seconds;
        let lost_seconds = (1.0 - ratio.exp()).max(0.0) * lasted;
        let step = self.go(now, around, &after);
        self.axis(knob).tried(now, surprised || step.is_some(), lasted, lost_seconds);
        step
    }
}
