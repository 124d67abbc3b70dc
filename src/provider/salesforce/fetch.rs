//! The parts of a call: by one request where the org allows it.
//!
//! Hides when a composite is used, and the fall-back where the whole of it is refused while it asks
//! for deletes: these are then asked one by one, the rest together. Invariants: parts come in the
//! order of the wishes; every further request pays for itself; the org is taken to refuse deletes
//! in a composite only after both went well apart.

use super::faults::{self, About};
use super::read::{Part, text};
use super::{Salesforce, composite};
use crate::provider::http::Answer;
use crate::provider::{Ctx, Failure};
use crmsync_core::domain::{Fault, Outcome};
use std::sync::atomic::Ordering;

/// One GET.
pub(super) struct Wish {
    pub path: String,
    /// It asks the delete log.
    pub of_deletes: bool,
}

/// What came.
pub(super) enum Fetched {
    /// One for each wish. `together`: within a composite.
    Parts { parts: Vec<Part>, together: bool },
    /// A single wish was refused.
    Refused(Answer),
}

/// Fetches; usage and the server's clock go into `outcome`.
pub(super) async fn parts(
    sf: &Salesforce,
    ctx: Ctx<'_>,
    wishes: &[Wish],
    cost: u32,
    outcome: &mut Outcome,
) -> Result<Fetched, Failure> {
    match wishes {
        [] => Ok(Fetched::Parts { parts: Vec::new(), together: false }),
        [wish] => match single(sf, ctx, &wish.path, cost, outcome).await? {
            Ok(part) => Ok(Fetched::Parts { parts: vec![part], together: false }),
            Err(answer) => Ok(Fetched::Refused(answer)),
        },
        _ => {
            let paths: Vec<String> = wishes.iter().map(|w| w.path.clone()).collect();
            match several(sf, ctx, &paths, cost, outcome).await? {
                Ok(parts) => Ok(Fetched::Parts { parts, together: true }),
                Err(answer) => {
                    let refusal = faults::refusal(&answer, About::default());
                    let of_form = matches!(refusal, Failure::Fault(Fault::Contract { .. }));
                    if !(of_form && wishes.iter().any(|w| w.of_deletes)) {
                        return Err(refusal);
                    }
                    let parts = apart(sf, ctx, wishes, outcome).await?;
                    sf.deletes_alone.store(true, Ordering::Relaxed);
                    Ok(Fetched::Parts { parts, together: false })
                }
            }
        }
    }
}

async fn apart(
    sf: &Salesforce,
    ctx: Ctx<'_>,
    wishes: &[Wish],
    outcome: &mut Outcome,
) -> Result<Vec<Part>, Failure> {
    let rest = wishes.iter().filter(|w| !w.of_deletes).map(|w| w.path.clone());
    let rest: Vec<String> = rest.collect();
    let whole = |refused: Answer| faults::refusal(&refused, About::default());
    let mut rest = match rest.as_slice() {
        [] => Vec::new(),
        [path] => vec![single(sf, ctx, path, 1, outcome).await?.map_err(whole)?],
        paths => several(sf, ctx, paths, 1, outcome).await?.map_err(whole)?,
    }
    .into_iter();
    let mut parts = Vec::new();
    for wish in wishes {
        parts.push(if wish.of_deletes {
            match single(sf, ctx, &wish.path, 1, outcome).await? {
                Ok(part) => part,
                Err(answer) => match answer.passing() {
                    Some(fault) => return Err(fault.into()),
                    None => (answer.status, answer.text().into_owned()),
                },
            }
        } else {
            rest.next().ok_or_else(|| Fault::contract("a composite answer has too few parts"))?
        });
    }
    Ok(parts)
}

async fn single(
    sf: &Salesforce,
    ctx: Ctx<'_>,
    path: &str,
    cost: u32,
    outcome: &mut Outcome,
) -> Result<Result<Part, Answer>, Failure> {
    let got = sf.get(ctx, path, cost).await?;
    outcome.usage.extend(got.usage);
    outcome.server_time = got.answer.server_time();
    if !got.answer.is_ok() || got.answer.is_html() {
        return Ok(Err(got.answer));
    }
    Ok(Ok((got.answer.status, text(got.answer.body)?)))
}

async fn several(
    sf: &Salesforce,
    ctx: Ctx<'_>,
    paths: &[String],
    cost: u32,
    outcome: &mut Outcome,
) -> Result<Result<Vec<Part>, Answer>, Failure> {
    match composite::try_get(sf, ctx, paths, cost).await? {
        Err(got) => {
            outcome.usage.extend(got.usage);
            Ok(Err(got.answer))
        }
        Ok(got) => {
            outcome.usage.extend(got.usage);
            outcome.server_time = got.server_time;
            Ok(Ok(got.parts))
        }
    }
}
