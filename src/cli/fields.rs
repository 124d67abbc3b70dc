//! `fields`: what the source has, and what of it is read.

use super::Ctx;
use super::error::{CliError, DONE};
use super::output::{View, line, table};
use crate::control::envelope::Fields;
use std::fmt::Write as _;

pub(super) async fn run(ctx: &Ctx, name: &str, search: Option<String>) -> Result<u8, CliError> {
    let url = super::connection(name, &["fields"])?.with("search", search);
    let answer = ctx.client.get::<Fields>(&url).await?;
    ctx.show(&answer, render)?;
    Ok(DONE)
}

pub(super) fn render(fields: &Fields, _: &View) -> String {
    let mark = |selected: bool| if selected { "*" } else { " " };
    let (with, without): (Vec<_>, Vec<_>) =
        fields.objects.iter().partition(|o| o.selected || !o.fields.is_empty());
    let mut out = String::new();
    for object in with {
        let (name, label) = (line(&object.name), line(&object.label));
        let _ = writeln!(out, "{} {name} ({label})", mark(object.selected));
        let rows = object.fields.iter().map(|f| {
            vec![format!("  {}", mark(f.selected)), f.name.clone(), f.kind.clone(), f.label.clone()]
        });
        out.push_str(&table(&["", "FIELD", "TYPE", "LABEL"], &[], rows.collect()));
        out.push('\n');
    }
    if !without.is_empty() {
        out.push_str("not selected\n");
        let rows = without.iter().map(|o| vec![format!("  {}", o.name), o.label.clone()]);
        out.push_str(&table(&["  OBJECT", "LABEL"], &[], rows.collect()));
        out.push('\n');
    }
    if fields.objects.is_empty() {
        out.push_str("nothing was found\n");
    } else {
        out.push_str("* is read; change it in the configuration, then crmsync reload\n");
    }
    out
}
