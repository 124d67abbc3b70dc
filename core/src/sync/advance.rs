//! What a reading makes of an object's state: pages, steps, faults.
//!
//! Hides which part of the state a slot belongs to. Invariants: a state never claims more than what
//! is committed with it; a fault that is an object's own is counted where it may come again.

use super::plan::AHEAD;
use super::{Consequence, ObjectState, Phase, Slot, Stage, Sweep, SweepReason, Window, whole};
use crate::domain::{Fault, Step, TaskKind, Time};

impl ObjectState {
    /// A batch is about to be committed: notes the position that covers it.
    pub fn delivered(
        &mut self,
        slot: Slot,
        bounds: Option<(Time, Time)>,
        position: Option<String>,
    ) {
        if self.by_job(slot) {
            return; // its position is the page, and comes with the step
        }
        match (slot, &mut self.phase) {
            (Slot::Load, Phase::Load { after, .. } | Phase::Reread { after, .. }) => {
                *after = position;
            }
            (Slot::Window, Phase::Follow { window, .. }) => {
                if let Some((from, to)) = bounds {
                    *window = Some(Window { from, to, after: position });
                }
            }
            (Slot::Fill, _) => {
                if let Some(fill) = &mut self.fill {
                    fill.after = position;
                }
            }
            (Slot::Sweep, _) => {
                if let Some(Sweep { stage: Stage::Keys { after }, .. }) = &mut self.sweep {
                    *after = position;
                }
            }
            (Slot::Part, _) => self.part_delivered(position),
            (Slot::Mend, _) => self.mend_delivered(bounds, position),
            (Slot::Load | Slot::Window | Slot::Deleted | Slot::Fetch | Slot::Proof, _) => {}
        }
    }

    /// A task ended with a step: moves the state on and says what else belongs into the same
    /// transaction. `bounds` are those of the window, `now` is the server's clock before the
    /// task was sent. `Step::Failed` is for [`ObjectState::failed`].
    pub fn stepped(
        &mut self,
        slot: Slot,
        bounds: Option<(Time, Time)>,
        step: &Step,
        now: Time,
    ) -> Vec<Consequence> {
        let (finely, now) = (now, whole(now));
        match step {
            Step::Done if self.call_off_ended(slot) => Vec::new(),
            Step::Done if slot == Slot::Mend => {
                self.mend_done(bounds, now);
                Vec::new()
            }
            Step::Done => self.done(slot, bounds),
            Step::Deleted { ids, earliest, covered } => {
                let from = bounds.map_or(*covered, |b| b.0);
                self.deletes_asked = bounds.map(|b| b.1);
                let mut out = Vec::new();
                if !ids.is_empty() {
                    out.push(Consequence::Delete(ids.clone()));
                }
                if earliest.is_some_and(|e| e > from) && self.sweep.is_none() {
                    self.begin_sweep(SweepReason::LogGap, now);
                    out.push(Consequence::BeginSweep);
                }
                let known = self.deletes_covered.unwrap_or(*covered);
                self.deletes_covered = Some(known.max(*covered));
                out
            }
            Step::Started { .. }
            | Step::Running { .. }
            | Step::Ready { .. }
            | Step::Page { .. }
            | Step::NoJob { .. }
            | Step::JobLost { .. } => self.job_stepped(slot, step, finely),
            Step::More | Step::Counted(_) | Step::Token(_) | Step::Failed(_) => Vec::new(),
        }
    }

    pub(super) fn done(&mut self, slot: Slot, bounds: Option<(Time, Time)>) -> Vec<Consequence> {
        match slot {
            Slot::Load => {
                if let Phase::Load { started, .. } = self.phase {
                    let window = None;
                    self.phase = Phase::Follow { covered: started, settled: false, window };
                    // Pages of a job may have come in before it fell back to queries.
                    return vec![Consequence::Key];
                } else if let Phase::Reread { started, .. } = self.phase {
                    self.phase = Phase::Follow { covered: started, settled: true, window: None };
                    // A row that was deleted meanwhile may have come back with a page.
                    self.deletes_covered = self.deletes_covered.map(|t| t.min(started));
                    self.deletes_asked = None;
                }
            }
            Slot::Window => {
                if let (Phase::Follow { covered, settled, window }, Some((_, to))) =
                    (&mut self.phase, bounds)
                {
                    *covered = (*covered).max(to.checked_sub(AHEAD).unwrap_or(Time::MIN));
                    *settled = true;
                    *window = None;
                    self.fresh = Some(*covered);
                }
            }
            Slot::Fill => {
                let calculated = self.fill.take().and_then(|f| f.calculated);
                self.calculated_covered = calculated.or(self.calculated_covered);
            }
            Slot::Sweep => {
                if self.by_job(slot) {
                    self.job = None;
                }
                if let Some(sweep) = &mut self.sweep {
                    sweep.stage = Stage::Fetch { after: None };
                    return vec![Consequence::EndSweep {
                        hide: sweep.reason == SweepReason::Sight,
                        approved: sweep.approved,
                    }];
                }
            }
            Slot::Part => return self.part_done(),
            Slot::Mend | Slot::Fetch | Slot::Deleted | Slot::Proof => {}
        }
        Vec::new()
    }

    /// Keys up to `last` were asked for; `none_left` ends the sweep.
    pub fn fetched(&mut self, last: Option<String>, none_left: bool) {
        let Some(sweep) = &mut self.sweep else { return };
        if none_left {
            let started = sweep.started;
            self.deletes_covered = Some(self.deletes_covered.map_or(started, |t| t.max(started)));
            self.sweep = None;
            // Before anything is counted on it: what changed meanwhile.
            self.fresh = None;
        } else if let Stage::Fetch { after } = &mut sweep.stage {
            *after = last;
        }
    }

    /// A task failed. Returns what to do in the replica, and the run goes on; `None` when the
    /// run (or whoever names objects that fail) has to decide. The state is to be stored either
    /// way: it counts troubles. To be called for each [`TaskKind::Count`], [`Slot::Mend`] and
    /// [`Slot::Part`] of a call that failed as a whole, too: no proof may hold up a run.
    pub fn failed(
        &mut self,
        slot: Slot,
        kind: &TaskKind,
        fault: &Fault,
        now: Time,
    ) -> Option<Vec<Consequence>> {
        let passing = matches!(fault, Fault::Passing { .. } | Fault::QuotaReached { .. });
        if (!passing && self.call_off_ended(slot))
            || self.job_failed(slot, kind, fault, now).is_some()
            || self.proof_failed(slot, kind, fault, whole(now)).is_some()
        {
            return Some(Vec::new());
        }
        let now = whole(now);
        match fault {
            Fault::SchemaMoved { field: Some(field), .. } => {
                self.fields.retain(|f| !f.eq_ignore_ascii_case(field));
                if let Some(fill) = &mut self.fill {
                    fill.fields.retain(|f| !f.eq_ignore_ascii_case(field));
                    if fill.fields.is_empty() {
                        self.fill = None;
                    }
                }
                self.job_without(field);
                Some(Vec::new())
            }
            Fault::SchemaMoved { field: None, .. } => {
                self.gone = true;
                Some(Vec::new())
            }
            Fault::CursorLost { .. } => match slot {
                Slot::Deleted => {
                    self.deletes_asked = Some(now);
                    self.deletes_covered = Some(now);
                    self.begin_sweep(SweepReason::LogGap, now);
                    Some(vec![Consequence::BeginSweep])
                }
                Slot::Window => {
                    if let Phase::Follow { window, .. } = &mut self.phase {
                        *window = None;
                    }
                    Some(Vec::new())
                }
                Slot::Load
                | Slot::Part
                | Slot::Mend
                | Slot::Proof
                | Slot::Fill
                | Slot::Sweep
                | Slot::Fetch => {
                    self.delivered(slot, None, None);
                    Some(Vec::new())
                }
            },
            Fault::Passing { .. }
            | Fault::QuotaReached { .. }
            | Fault::NeedsAuthorization { .. }
            | Fault::Denied { .. }
            | Fault::Conflict { .. }
            | Fault::RecordRefused { .. }
            | Fault::Misconfigured { .. }
            | Fault::AddressNotAllowed { .. }
            | Fault::Suspended { .. }
            | Fault::Contract { .. } => None,
        }
    }
}
