//! What comes before the first page: identity, schema, tables, states, wishes.

use super::{ObjectSummary, Run, Stop, Wishes, Work};
use crate::provider::{Ctx, Failure, Provider, Told};
use crate::replica::{Change, LayoutChange, ReplicaError};
use crate::store::{Change as StoreChange, Doc};
use crmsync_core::config::settings::Selection;
use crmsync_core::domain::{Fault, ObjectSchema, Time};
use crmsync_core::sync::{self, ObjectState, Phase, SweepReason};
use futures_util::future::BoxFuture;
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How long a description of the source is believed without a sign that it changed.
const DESCRIBE_AGAIN: SignedDuration = SignedDuration::from_hours(6);

/// A cached description.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Described {
    at: Option<Time>,
    objects: BTreeMap<String, Option<ObjectSchema>>,
    /// Descriptions before these, until the tables were laid out by these.
    #[serde(default)]
    before: BTreeMap<String, ObjectSchema>,
    /// Fields that it names and that the source refused all the same, see [`Run::refused`].
    #[serde(default)]
    refused: BTreeSet<(String, String)>,
}

/// Why the source is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// The cached description will do while it is fresh.
    IfStale,
    /// Somebody wants to know, or our sight changed: nothing is held against a field any more.
    Anew,
    /// It moved under us: what was just refused stays refused, whatever the description says.
    Moved,
}

impl Run {
    pub(super) async fn prepare(&mut self) -> Result<(), Stop> {
        let (wishes, _) = self.wishes()?;
        let pin = self.work.holder.identity()?;
        if let Some(pin) = &pin {
            self.claim(&pin.org_id).await?;
            self.read_states().await?;
        }
        // What is absent from a comparison of keys was deleted only if our sight is what it was.
        let compares = wishes.approve
            || !wishes.full.is_empty()
            || (!self.work.looks_only && self.compares_soon(self.work.env.now()));
        self.compared_by_us = compares;
        let toll = Arc::clone(&self.toll);
        let checked = self.work.holder.check_identity(toll.as_ref(), compares).await?;
        self.clock.tell(checked.server_time);
        // Read once more: a changed sight is a wish, so that it is not lost if this run is.
        let (wishes, version) = self.wishes()?;
        let sight = wishes.sight;
        let pinned = pin.as_ref().map(|i| i.org_id.clone());
        let org = checked.identity.or(pin).map(|i| i.org_id).ok_or_else(|| {
            Stop::Fault(Fault::contract("the connection has a grant but no identity"))
        })?;
        if pinned.is_none_or(|pinned| pinned != org) {
            self.claim(&org).await?;
            self.read_states().await?;
        }
        self.go_on()?;
        let again = if wishes.describe || sight { Again::Anew } else { Again::IfStale };
        self.describe(again).await?;
        self.go_on()?;
        let now = self.server_now().await?;
        self.lay_out(now).await?;
        self.take_over(&wishes, sight, now).await?;
        if let Some(version) = version {
            let drop = StoreChange {
                docs: vec![Doc {
                    kind: "wishes",
                    key: self.work.id.clone(),
                    version,
                    json: json(&Wishes::default()),
                }],
                ..StoreChange::default()
            };
            match self.work.store.apply(drop) {
                // Somebody wished for more meanwhile: the next run takes all of it over again.
                Ok(()) | Err(crate::store::StoreError::Stale { .. }) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    async fn claim(&self, org: &str) -> Result<(), Stop> {
        let Work { settings, id, copy, .. } = &self.work;
        Ok(copy.claim(&settings.provider, org, id).await?)
    }

    /// Whether keys are being compared, or may be in this run: the deletes we know of are old.
    fn compares_soon(&self, now: Time) -> bool {
        self.states.values().filter(|s| !s.gone).any(|s| {
            let old = |t: Time| now.duration_since(t) >= self.rules.sweep_every;
            s.sweep.is_some() || (!s.loading() && s.deletes_covered.is_none_or(old))
        })
    }

    fn wishes(&self) -> Result<(Wishes, Option<u64>), Stop> {
        let doc = self.work.store.doc("wishes", &self.work.id)?;
        Ok(match doc {
            Some((version, text)) => {
                let wishes: Wishes = serde_json::from_str(&text).unwrap_or_default();
                let any = wishes != Wishes::default();
                (wishes, any.then_some(version))
            }
            None => (Wishes::default(), None),
        })
    }

    async fn read_states(&mut self) -> Result<(), Stop> {
        let stored = self.work.copy.with(|replica| replica.states()).await?;
        for object in self.work.settings.objects.keys() {
            let Some(text) = stored.get(object) else { continue };
            match serde_json::from_str::<ObjectState>(text) {
                Ok(state) => {
                    self.states.insert(object.clone(), state);
                }
                // Loaded again in place: costs calls, loses nothing.
                Err(error) => tracing::warn!(%object, %error, "state of an object is unreadable"),
            }
        }
        self.states_read = true;
        self.miss_lost(&stored);
        Ok(())
    }

    /// A copy that was here after the last run and is not now: nothing of it is claimed any more.
    fn miss_lost(&mut self, stored: &BTreeMap<String, String>) {
        let known = std::mem::take(&mut self.work.known);
        let (kept, lost): (Vec<_>, Vec<_>) =
            known.into_iter().partition(|o| stored.contains_key(&o.name));
        self.work.known = kept;
        for ObjectSummary { name, live, deleted, hidden, .. } in lost {
            let rows = live + deleted + hidden;
            if rows > 0 && self.work.settings.objects.contains_key(&name) {
                let line = format!("its copy of {rows} rows is not there any more");
                tracing::warn!(connection = %self.work.name, object = %name, "{line}");
                self.say(format!("{name}: {line}, all is loaded again"));
            }
        }
    }

    /// Describes the configured objects, from the cache where it is fresh enough.
    pub(super) async fn describe(&mut self, again: Again) -> Result<(), Stop> {
        let cached = self.work.store.doc("schema", &self.work.id)?;
        let version = cached.as_ref().map_or(0, |c| c.0);
        let mut known: Described =
            cached.and_then(|c| serde_json::from_str(&c.1).ok()).unwrap_or_default();
        let now = self.work.env.now();
        let old = known.at.is_none_or(|at| now.duration_since(at) > DESCRIBE_AGAIN);
        let stale = again != Again::IfStale || old;
        let names: Vec<String> = self
            .work
            .settings
            .objects
            .keys()
            .filter(|o| stale || !known.objects.contains_key(*o))
            .cloned()
            .collect();
        if !names.is_empty() {
            let provider = Arc::clone(&self.work.provider);
            let asked = Arc::new(names);
            let told = self.ask(move |ctx| describe(&provider, ctx, Arc::clone(&asked))).await?;
            self.clock.tell(told.server_time);
            for (object, schema) in told.value {
                if let Some(Some(before)) = known.objects.insert(object.clone(), schema) {
                    known.before.entry(object).or_insert(before);
                }
            }
            if stale {
                known.at = Some(now);
            }
            if again == Again::Moved {
                known.refused.append(&mut self.refused);
            } else if stale {
                known.refused.clear();
            }
            let doc =
                Doc { kind: "schema", key: self.work.id.clone(), version, json: json(&known) };
            self.work.store.apply(StoreChange { docs: vec![doc], ..StoreChange::default() })?;
        }
        self.refused = known.refused;
        self.before = known.before;
        self.schemas.clear();
        for object in self.work.settings.objects.keys() {
            match known.objects.remove(object) {
                Some(Some(schema)) => {
                    self.schemas.insert(object.clone(), schema);
                }
                Some(None) | None => match self.states.get_mut(object) {
                    Some(state) => {
                        state.gone = true;
                        self.gone.insert((object.clone(), None));
                        let object = object.clone();
                        let fault = Fault::SchemaMoved { object: object.clone(), field: None };
                        self.failing.insert(object, fault);
                    }
                    None => {
                        let what = format!(
                            "{object} is not at the source, or our account may not see it; hint: crmsync fields {}",
                            self.work.name
                        );
                        self.failing.insert(object.clone(), Fault::Misconfigured { what });
                    }
                },
            }
        }
        Ok(())
    }

    /// Makes or widens tables, and settles which fields are read.
    pub(super) async fn lay_out(&mut self, now: Time) -> Result<(), Stop> {
        let at = self.work.env.now();
        let mut left = BTreeSet::new();
        for (object, schema) in self.schemas.clone() {
            let selection =
                self.work.settings.objects.get(&object).cloned().unwrap_or(Selection::All);
            let (mut fields, missing) = select(&schema, &selection);
            let mut missing = missing;
            fields.retain(|f| {
                let kept = !self.refused.contains(&(object.clone(), f.to_ascii_lowercase()));
                if !kept {
                    missing.push(f.clone());
                }
                kept
            });
            for field in missing {
                self.gone.insert((object.clone(), Some(field)));
            }
            let reading = sync::fields_to_read(
                self.work.settings.schema,
                self.states.get(&object).map(|s| s.fields.as_slice()),
                fields,
                |name| named(&selection, name),
                self.before.get(&object),
                &schema,
            );
            let fields = reading.fields;
            for field in reading.new.into_iter().chain(reading.retyped) {
                self.frozen.insert((object.clone(), field));
            }
            let (table, wanted) = (schema.clone(), fields.clone());
            let laid = self.work.copy.with(move |replica| replica.lay_out(&table, &wanted, at));
            let change: LayoutChange = match laid.await {
                Ok(change) => change,
                Err(error) => {
                    self.spare(error).await?;
                    left.insert(object);
                    continue;
                }
            };
            for field in &change.gone {
                self.gone.insert((object.clone(), Some(field.clone())));
            }
            let before = self.states.remove(&object);
            let state = match before.clone() {
                // A table that was lost while its state was kept would never be filled again.
                Some(mut state) if !change.created => {
                    state.take_fields(fields);
                    // By the descriptions, too: whoever died after the table was altered finds it
                    // done, and what is not filled looks like any other column.
                    state.fill_again(&reading.moved);
                    state.fill_again(&change.added);
                    state.fill_again(&change.beside);
                    state
                }
                Some(_) | None => ObjectState::new(fields, now),
            };
            if change != LayoutChange::default() {
                self.touched.insert(object.clone());
            }
            if change.created {
                self.say(format!("{object}: loading, {} fields", state.fields.len()));
            }
            let moved = before.as_ref() != Some(&state);
            self.states.insert(object.clone(), state);
            if moved {
                self.store_state(&object).await?;
            }
        }
        self.forget_before(&left)
    }

    /// What the replica refuses of one object is that object's trouble in this run: it stays as it
    /// was committed, and the others go on. Anything else ends the run. Returns whether the object
    /// was still sound.
    pub(super) async fn spare(&mut self, error: ReplicaError) -> Result<bool, Stop> {
        let ReplicaError::Object { object, .. } = &error else { return Err(error.into()) };
        let (object, text) = (object.clone(), error.to_string());
        self.say(format!("{object}: {text}"));
        // What was stepped in memory and not committed has not happened.
        let mut stored = self.work.copy.with(|replica| replica.states()).await?;
        match stored.remove(&object).and_then(|s| serde_json::from_str(&s).ok()) {
            Some(state) => self.states.insert(object.clone(), state),
            None => self.states.remove(&object),
        };
        Ok(self.failing.insert(object, Fault::contract(text)).is_none())
    }

    /// The tables are as the last description says, but for those that were left: the one before
    /// is not needed any more.
    fn forget_before(&mut self, left: &BTreeSet<String>) -> Result<(), Stop> {
        if self.before.is_empty() {
            return Ok(());
        }
        self.before.retain(|object, _| left.contains(object));
        let Some((version, text)) = self.work.store.doc("schema", &self.work.id)? else {
            return Ok(());
        };
        let mut known: Described = serde_json::from_str(&text).unwrap_or_default();
        known.before.retain(|object, _| left.contains(object));
        let doc = Doc { kind: "schema", key: self.work.id.clone(), version, json: json(&known) };
        self.work.store.apply(StoreChange { docs: vec![doc], ..StoreChange::default() })?;
        Ok(())
    }

    /// Before rows are taken for deleted because they are absent: is our sight what it was? Asked
    /// once in a run; a changed one begins the comparison anew, to hide and not to delete.
    pub(super) async fn sight_holds(&mut self, now: Time) -> Result<bool, Stop> {
        if self.compared_by_us {
            return Ok(true);
        }
        self.compared_by_us = true;
        let toll = Arc::clone(&self.toll);
        let checked = self.work.holder.check_identity(toll.as_ref(), true).await?;
        self.clock.tell(checked.server_time);
        let (wishes, _) = self.wishes()?;
        if wishes.sight {
            self.take_over(&wishes, true, now).await?;
        }
        Ok(!wishes.sight)
    }

    async fn take_over(&mut self, wishes: &Wishes, sight: bool, now: Time) -> Result<(), Stop> {
        for object in self.schemas.keys().cloned().collect::<Vec<_>>() {
            let Some(state) = self.states.get_mut(&object) else { continue };
            let mut begun = false;
            if sight {
                state.begin_sweep(SweepReason::Sight, now);
                begun = true;
            } else if wishes.approve && state.approve(now) {
                begun = true;
            }
            if wishes.full.contains(&object)
                && let Phase::Follow { covered, .. } = state.phase
            {
                state.phase = Phase::Reread { started: now, after: None, covered };
                if !begun {
                    state.begin_sweep(SweepReason::LogGap, now);
                    begun = true;
                }
            }
            if begun {
                self.begin_sweep(&object).await?;
            }
        }
        Ok(())
    }

    /// Forgets the notes of an earlier sweep and stores the state, together.
    pub(super) async fn begin_sweep(&mut self, object: &str) -> Result<(), Stop> {
        let Some(state) = self.states.get(object).map(json) else { return Ok(()) };
        let object = object.to_owned();
        self.say(format!("{object}: comparing keys"));
        self.work
            .copy
            .with(move |replica| {
                replica.write(&[
                    Change::SweepBegin { object: &object },
                    Change::State { object: &object, state: &state },
                ])
            })
            .await?;
        Ok(())
    }

    /// Stores an object's state on its own.
    pub(super) async fn store_state(&mut self, object: &str) -> Result<(), Stop> {
        self.store_states(BTreeSet::from([object.to_owned()])).await
    }

    /// Stores the states of some objects in one transaction.
    pub(super) async fn store_states(&mut self, objects: BTreeSet<String>) -> Result<(), Stop> {
        let texts: Vec<(String, String)> = objects
            .into_iter()
            .filter_map(|o| self.states.get(&o).map(json).map(|state| (o, state)))
            .collect();
        if texts.is_empty() {
            return Ok(());
        }
        self.work
            .copy
            .with(move |replica| {
                let states: Vec<Change<'_>> =
                    texts.iter().map(|(object, state)| Change::State { object, state }).collect();
                replica.write(&states)
            })
            .await?;
        Ok(())
    }
}

/// Whether the settings name the field.
fn named(selection: &Selection, field: &str) -> bool {
    match selection {
        Selection::Fields(list) => list.iter().any(|f| f.eq_ignore_ascii_case(field)),
        Selection::All | Selection::Except(_) => false,
    }
}

/// Fields to read, the key first, then in the source's order; and those that were asked for by
/// name and are not there.
fn select(schema: &ObjectSchema, selection: &Selection) -> (Vec<String>, Vec<String>) {
    let is = |list: &[String], name: &str| list.iter().any(|l| l.eq_ignore_ascii_case(name));
    let system: Vec<&str> = schema.system_fields().collect();
    let wanted = |name: &str| match selection {
        Selection::All => true,
        Selection::Fields(list) => is(list, name),
        Selection::Except(list) => !is(list, name),
    };
    let mut fields = vec![schema.key.clone()];
    fields.extend(
        schema
            .fields
            .iter()
            .map(|f| &f.name)
            .filter(|name| **name != schema.key)
            .filter(|name| system.contains(&name.as_str()) || wanted(name))
            .cloned(),
    );
    let missing = match selection {
        Selection::Fields(list) => {
            list.iter().filter(|name| schema.field(name).is_none()).cloned().collect()
        }
        Selection::All | Selection::Except(_) => Vec::new(),
    };
    (fields, missing)
}

pub(super) fn json<T: Serialize>(value: &T) -> String {
    // Our own plain types: nothing in them can fail to become JSON.
    serde_json::to_string(value).unwrap_or_default()
}

type Descriptions = Told<BTreeMap<String, Option<ObjectSchema>>>;

fn describe<'a>(
    provider: &Arc<dyn Provider>,
    ctx: Ctx<'a>,
    objects: Arc<Vec<String>>,
) -> BoxFuture<'a, Result<Descriptions, Failure>> {
    let provider = Arc::clone(provider);
    Box::pin(async move { provider.describe(ctx, &objects).await })
}
