//! What a run found out about the data, for those who are to be told: fields that are gone or
//! frozen out, counts that differ.
//!
//! Invariant: each finding opens or closes its own notice; a run that saw no replica closes none.

use super::Actor;
use super::effects::Extra;
use crate::daemon::work::Report;
use crmsync_core::connection::Event;
use crmsync_core::domain::Concern;

impl Actor {
    pub(super) fn gone_fields(&self, report: &Report, extra: &mut Extra) {
        for (object, field) in &report.gone {
            let text = match field {
                Some(field) => format!(
                    "{object}.{field} is no longer at the source, or our account may not see it; its column stays"
                ),
                None => format!(
                    "{object} is no longer at the source, or our account may not see it; its rows stay"
                ),
            };
            let concern = Concern::FieldRemoved { object: object.clone(), field: field.clone() };
            extra.raise.push((concern, text));
        }
        let Some(objects) = &report.objects else { return };
        for condition in self.notices.open() {
            if let Concern::FieldRemoved { object, field } = &condition.concern {
                let back = objects.iter().any(|o| {
                    o.name == *object
                        && !o.state.gone
                        && field.as_ref().is_none_or(|f| o.state.fields.contains(f))
                });
                if back {
                    extra.clear.push(condition.concern.clone());
                }
            }
        }
    }

    pub(super) fn frozen_fields(&self, report: &Report, extra: &mut Extra) {
        for (object, field) in &report.frozen {
            let text = format!(
                "{object}.{field} came or changed its type; it is not read, as `schema = \"freeze\"` says"
            );
            let (object, field) = (object.clone(), field.clone());
            extra.raise.push((Concern::FieldFrozen { object, field }, text));
        }
        let Some(objects) = &report.objects else { return };
        for condition in self.notices.open() {
            if let Concern::FieldFrozen { object, field } = &condition.concern {
                let read =
                    objects.iter().any(|o| o.name == *object && o.state.fields.contains(field));
                if read {
                    extra.clear.push(condition.concern.clone());
                }
            }
        }
    }

    /// What counting has proved in this run. A difference that was mended is told as well, and the
    /// notice stays until the next proof finds nothing.
    pub(super) fn proofs(&self, report: &Report, extra: &mut Extra, events: &mut Vec<Event>) {
        for o in report.objects.iter().flatten() {
            let before = self.summary.iter().find(|s| s.name == o.name);
            let Some(proved) = &o.state.proved else { continue };
            if before.and_then(|b| b.state.proved.as_ref()) == Some(proved)
                || proved.unproved.is_some()
            {
                continue;
            }
            let object = o.name.clone();
            let concern = Concern::CopyDiffers { object: object.clone() };
            let (repaired, differs) = (proved.repaired, proved.differs);
            match (repaired, differs) {
                (_, 1..) => {
                    let text =
                        format!("{differs} rows differ, although {repaired} were read again");
                    events.push(Event::Differs { object, text: text.clone() });
                    extra.raise.push((concern, format!("{}: {text}", o.name)));
                }
                (1.., 0) => {
                    events.push(Event::Agrees { object });
                    let text = format!(
                        "{}: {repaired} rows were missing or not as at the source; they were read again, and the counts agree now",
                        o.name
                    );
                    extra.raise.push((concern, text));
                }
                (0, 0) => {
                    events.push(Event::Agrees { object });
                    extra.clear.push(concern);
                }
            }
        }
        let Some(objects) = &report.objects else { return };
        let here = |object: &str| objects.iter().any(|o| o.name == object && !o.state.gone);
        // Nobody compares what is no longer read.
        for object in self.state.differs.keys().filter(|object| !here(object)) {
            events.push(Event::Agrees { object: object.clone() });
        }
        for condition in self.notices.open() {
            if let Concern::CopyDiffers { object } = &condition.concern
                && !here(object)
            {
                extra.clear.push(condition.concern.clone());
            }
        }
    }
}
