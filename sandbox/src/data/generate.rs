//! An org made up from a seed: any number of records, awkward where real ones are.
//!
//! Stamps lie in the two years before `base_time` (the last day left out, so that a first poll
//! finds nothing), many records sharing a second as after bulk updates.

use super::Org;
use super::awkward::{DECIMALS, Random, TEXTS, WORDS};
use super::catalog;
use super::id::Id;
use super::input::Owned;
use super::schema::{Field, Kind, Source};
use super::table::{Object, Row, scattered};
use super::value::{self, Val};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// The order of new ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdOrder {
    /// A later record has the greater id.
    #[default]
    Ascending,
    /// No relation.
    Shuffled,
}

/// What to make up.
#[derive(Clone, Debug)]
pub struct GenSpec {
    /// Object and number of records; `X__c` of any name will do. Lookups find the objects that are
    /// named before and after alike.
    pub records: Vec<(String, u64)>,
    /// The same seed gives the same org.
    pub seed: u64,
    /// See [`IdOrder`].
    pub order: IdOrder,
    /// All stamps are a day older at least.
    pub base_time: Timestamp,
    /// Ids of the users who own records; empty: one made up.
    pub users: Vec<String>,
}

impl Default for GenSpec {
    fn default() -> Self {
        Self {
            records: Vec::new(),
            seed: 1,
            order: IdOrder::Ascending,
            base_time: Timestamp::UNIX_EPOCH,
            users: Vec::new(),
        }
    }
}

const DAY: i64 = 86_400;
/// Records that share a stamp.
const BATCH: u64 = 40;

/// Ids that lookups may point to: made by the same rule as the records will be.
struct Targets {
    ids: BTreeMap<String, (String, u64, u64)>,
    users: Vec<Id>,
}

impl Targets {
    fn pick(&self, random: &mut Random, field: &Field) -> Option<Id> {
        let names: Vec<&str> = field.targets().collect();
        let name = random.pick(&names)?;
        if name == "User" && !self.users.is_empty() {
            return self.users.get(random.below(self.users.len() as u64) as usize).copied();
        }
        let (prefix, scatter, count) = self.ids.get(&name.to_lowercase())?;
        (*count > 0).then(|| scattered(prefix, *scatter, random.below(*count) + 1))
    }
}

impl Org {
    /// Makes an org up.
    pub fn generate(spec: &GenSpec) -> Self {
        let users: Vec<Id> = spec.users.iter().filter_map(|u| Id::parse(u)).collect();
        let users = if users.is_empty() { vec![Id::from_serial("005", 1)] } else { users };
        let mut org = Self { seed: spec.seed, users: users.clone(), ..Self::default() };
        let mut targets = Targets { ids: BTreeMap::new(), users };
        let mut order = Vec::new();
        for (n, (name, count)) in spec.records.iter().enumerate() {
            let Some(mut object) = catalog::object(name, n) else { continue };
            if spec.order == IdOrder::Shuffled {
                object.scatter =
                    Random::new(spec.seed, "scatter", n as u64).below(900_000_000) + 1_000_003;
            }
            let key = name.to_lowercase();
            targets.ids.insert(key.clone(), (object.prefix().to_owned(), object.scatter, *count));
            order.push((key.clone(), *count));
            org.objects.insert(key, object);
        }
        org.schema_changed = spec.base_time.as_second() - 30 * DAY;
        for (key, count) in order {
            if let Some(object) = org.objects.get_mut(&key) {
                let rows = make_rows(object, count, spec, &targets);
                object.fill(rows);
            }
        }
        org
    }
}

/// Makes the rows on all cores; a row depends on its number alone.
fn make_rows(object: &Object, count: u64, spec: &GenSpec, targets: &Targets) -> Vec<Row> {
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let share = count.div_ceil(cores).max(1);
    let person = object.field("LastName").is_some();
    let make = |from: u64| -> Vec<Row> {
        let numbers = from..count.min(from + share);
        numbers.map(|n| make_row(object, n, person, spec, targets)).collect()
    };
    std::thread::scope(|scope| {
        let make = &make;
        let workers: Vec<_> = (0..count)
            .step_by(share as usize)
            .map(|from| scope.spawn(move || make(from)))
            .collect();
        // A worker that panicked leaves its rows out; generating cannot panic.
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    })
}

fn make_row(object: &Object, n: u64, person: bool, spec: &GenSpec, targets: &Targets) -> Row {
    let id = scattered(object.prefix(), object.scatter, n + 1);
    let mut random = Random::new(spec.seed, &object.name, n);
    let mut batch = Random::new(spec.seed, "stamp", n / BATCH);
    let base = spec.base_time.as_second();
    let stamp = base - DAY - batch.below(730 * DAY.cast_unsigned()).cast_signed();
    let created = stamp - random.below(1000 * DAY.cast_unsigned()).cast_signed();
    // In the order of slots, as fields are.
    let mut cells: Vec<(usize, Owned)> = Vec::with_capacity(object.fields.len());
    for field in &object.fields {
        let Source::Slot(slot) = field.source else { continue };
        let value = match field.name.as_str() {
            "CreatedDate" => Owned::Plain(Val::Time(created * 1000)),
            "LastModifiedDate" => Owned::Plain(Val::Time(stamp * 1000)),
            "MasterRecordId" | "ConvertedDate" => continue,
            "Name" if person => continue,
            _ => made(field, n, &mut random, targets),
        };
        cells.push((slot, value));
    }
    let cells = if person {
        let mut cells: BTreeMap<usize, Owned> = cells.into_iter().collect();
        object.person_name(&[], &mut cells);
        Object::build(&[], &cells)
    } else {
        packed(&cells)
    };
    Row { id, stamp, visible_from: i64::MIN, deleted: false, cells }
}

/// Cells in the order of their slots, as they are stored.
fn packed(cells: &[(usize, Owned)]) -> Box<[u8]> {
    let mut out = Vec::with_capacity(512);
    let mut next = 0;
    for (slot, cell) in cells {
        for _ in next..*slot {
            value::put(&mut out, Val::Null);
        }
        value::put(&mut out, cell.val());
        next = slot + 1;
    }
    out.into_boxed_slice()
}

fn clipped(text: &str, max: Option<usize>) -> Owned {
    let text: String = text.chars().take(max.unwrap_or(255)).collect();
    if text.is_empty() { Owned::Plain(Val::Null) } else { Owned::Text(text) }
}

fn made(field: &Field, n: u64, random: &mut Random, targets: &Targets) -> Owned {
    const NULL: Owned = Owned::Plain(Val::Null);
    if field.facts.auto {
        return Owned::Text(format!("{:08}", n + 1));
    }
    let always = !field.nillable() || field.required();
    if !always && random.once_in(4) {
        return NULL;
    }
    match field.kind {
        Kind::Boolean => Owned::Plain(Val::Bool(random.once_in(3))),
        Kind::Reference => targets.pick(random, field).map_or(NULL, |id| Owned::Plain(Val::Id(id))),
        Kind::Int => match random.below(60) {
            0 => Owned::Num("5.0".to_owned()),
            1 => Owned::Num("1.0E7".to_owned()),
            2 => Owned::Plain(Val::Int(-(random.below(1000).cast_signed()))),
            _ => Owned::Plain(Val::Int(random.below(100_000).cast_signed())),
        },
        Kind::Decimal => decimal(field, random),
        Kind::Date => Owned::Plain(Val::Date(match random.below(200) {
            0 => -98_615,
            1 => 741_807,
            2..10 => -(random.below(20_000).cast_signed()),
            _ => 15_000 + random.below(8_000).cast_signed(),
        })),
        Kind::DateTime => Owned::Plain(Val::Time(match random.below(50) {
            0 => -86_400_000 * random.below(30_000).cast_signed() - 1,
            1 => 0,
            _ => 1_400_000_000_000 + random.below(500_000_000_000).cast_signed(),
        })),
        Kind::Multi => {
            let chosen: Vec<&str> = field.picklist().filter(|_| random.once_in(2)).collect();
            if chosen.is_empty() { NULL } else { Owned::Text(chosen.join(";")) }
        }
        Kind::Text => text(field, n, random),
        Kind::Id | Kind::Compound | Kind::Opaque => NULL,
    }
}

fn decimal(field: &Field, random: &mut Random) -> Owned {
    let scale = field.json.get("scale").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if field.name.ends_with("tude") {
        let whole = random.below(89).cast_signed() - 44;
        return Owned::Num(format!("{whole}.{:06}", random.below(1_000_000)));
    }
    if field.ty == "percent" {
        return Owned::Num(format!("{}.{}", random.below(101), random.below(10)));
    }
    if random.once_in(6)
        && let Some(text) = random.pick(&DECIMALS)
        && (scale > 0 || text.ends_with(".0") || text.contains("E7"))
    {
        return Owned::Num(text.to_owned());
    }
    let sign = if random.once_in(20) { "-" } else { "" };
    let whole = random.below(10_000_000);
    match scale {
        0 => Owned::Num(format!("{whole}.0")),
        2 => Owned::Num(format!("{sign}{whole}.{:02}", random.below(100))),
        _ => Owned::Num(format!("{sign}{}.{:03}", whole % 10_000, random.below(1000))),
    }
}

fn text(field: &Field, n: u64, random: &mut Random) -> Owned {
    let max = field.length();
    if field.external_id() && field.ty == "string" {
        return Owned::Text(format!("EXT-{n:07}"));
    }
    match field.ty.as_str() {
        "picklist" | "combobox" => {
            let list: Vec<&str> = field.picklist().collect();
            return clipped(random.pick(&list).unwrap_or_default(), max);
        }
        "email" => return clipped(&format!("user{n}.{}@example.org", random.below(1000)), max),
        "phone" => {
            let text = match random.below(8) {
                0 => "N/A".to_owned(),
                1 => format!("+49 (0)30 {:07} ext. {}", random.below(10_000_000), random.below(99)),
                _ => format!(
                    "({:03}) {:03}-{:04}",
                    random.below(900) + 100,
                    random.below(1000),
                    random.below(10_000)
                ),
            };
            return clipped(&text, max);
        }
        "url" => {
            return clipped(
                &format!("https://www.example.org/{}?q={}&x=%20", n, random.below(1000)),
                max,
            );
        }
        "encryptedstring" => return clipped(&format!("DE{:09}", random.below(1_000_000_000)), max),
        _ => {}
    }
    let long = max.unwrap_or(0);
    let mut plain = match field.name.as_str() {
        "FirstName" | "LastName" => random.pick(&WORDS).unwrap_or_default().to_owned(),
        _ => format!(
            "{} {} {}",
            random.pick(&WORDS).unwrap_or_default(),
            random.pick(&WORDS).unwrap_or_default(),
            n + 1
        ),
    };
    if random.once_in(4) {
        let odd = random.pick(&TEXTS).unwrap_or_default();
        plain = if random.once_in(2) || field.name.contains("Name") {
            format!("{plain} {odd}")
        } else {
            odd.to_owned()
        };
    }
    if long >= 32_000 && random.once_in(1500) {
        let odd = random.pick(&TEXTS).unwrap_or_default();
        plain = format!("{plain}\n{odd}\n").repeat(2000);
    }
    clipped(&plain, max)
}
