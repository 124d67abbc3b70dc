//! A page of a bulk job: of any length, one transaction, its rows never in memory together.
//!
//! The provider reads and splits while the replica writes; two batches wait in between. What the
//! page is worth is known only at its end, so the commit waits for the provider's step, and the
//! object's state after that step goes into the same transaction. Anything else than a whole page
//! leaves nothing behind.

use super::prelude::json;
use super::{Progress, Run, Stop, patiently};
use crate::provider::{Ctx, Failure};
use crate::replica::{Applied, Fed, Into};
use crmsync_core::domain::{Call, Delivered, Fault, Outcome, Schema, Step};
use crmsync_core::sync::ObjectState;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::{mpsc, oneshot};

/// How a page went: what the provider said, and what was committed of it.
pub(super) struct Paged {
    /// The provider's outcome; a failure concerns the call as a whole.
    pub outcome: Result<Outcome, Failure>,
    /// None: nothing.
    pub applied: Option<Applied>,
}

impl Run {
    /// Sends the one task of the call and streams what comes into the replica. `judge` says with
    /// which state of the object the page is committed, and whether the table gets its key with it;
    /// none: nothing of the page counts.
    pub(super) async fn page(
        &mut self,
        ctx: Ctx<'_>,
        call: &Call,
        into: Into,
        schema: &Arc<Schema>,
        judge: impl FnOnce(&Result<Outcome, Failure>) -> Option<(ObjectState, bool)>,
    ) -> Result<Paged, Stop> {
        let Some(task) = call.tasks.first() else {
            let outcome = Ok(Outcome::default());
            return Ok(Paged { outcome, applied: None });
        };
        let turns = Arc::clone(&self.work.pages);
        let _turn = tokio::select! {
            turn = turns.acquire_owned() => turn.ok(),
            () = self.work.stop.cancelled() => return Err(Stop::Cancelled),
        };
        let (sink, mut batches) = mpsc::channel::<Delivered>(2);
        let (told, verdict) = oneshot::channel::<Fed>();
        let (object, fields, at) = (task.object.clone(), task.fields.clone(), self.work.env.now());
        let tell = self.progress_of_page(&object);
        let copy = self.work.copy.clone();
        let writer = tokio::spawn(async move {
            copy.with(move |replica| {
                let (mut verdict, mut rows) = (Some(verdict), 0);
                replica.stream(&object, &fields, into, at, &mut || {
                    if let Some(delivered) = batches.blocking_recv() {
                        rows += delivered.batch.rows() as u64;
                        tell(rows);
                        return Fed::Batch(delivered.batch);
                    }
                    // Nobody tells any more: the call was given up.
                    verdict.take().and_then(|v| v.blocking_recv().ok()).unwrap_or(Fed::Abort)
                })
            })
            .await
        });
        let provider = Arc::clone(&self.work.provider);
        let sent = match patiently(&self.work.cut, provider.send(ctx, call, schema, sink)).await {
            // It took too long, and would again: less is asked for at once.
            Err(Stop::Fault(fault)) => {
                let steps = vec![Step::Failed(Fault::contract(fault.to_string()))];
                Ok(Ok(Outcome { steps, ..Outcome::default() }))
            }
            sent => sent,
        };
        let end = match &sent {
            Ok(outcome) => judge(outcome)
                .map_or(Fed::Abort, |(state, key)| Fed::Commit { state: json(&state), key }),
            Err(_) => Fed::Abort,
        };
        // A writer that failed has gone, and says why below.
        let _ = told.send(end);
        let written = writer.await;
        let applied = written.map_err(|e| {
            Stop::Fault(Fault::contract(format!("writing a page broke off: {e}")))
        })??;
        Ok(Paged { outcome: sent?, applied })
    }

    /// Tells of the rows of a page as they are written.
    fn progress_of_page(&self, object: &str) -> impl Fn(u64) + Send + 'static {
        let before = self.rows.get(object).copied().unwrap_or(0);
        let (object, tell) = (object.to_owned(), Arc::clone(&self.work.progress));
        let (toll, expected) = (Arc::clone(&self.toll), self.sizes.get(&object).copied());
        let loading = self.states.get(&object).is_some_and(ObjectState::loading);
        move |rows| {
            tell(Progress {
                object: object.clone(),
                rows: before + rows,
                expected,
                calls: toll.paid.load(Ordering::Relaxed),
                loading,
            });
        }
    }
}
