//! What Bulk does not take, as the dossier's section 5.3 lists it, and the span of time that a
//! query asks for.

use crate::soql::ast::{Expr, Literal, Op};

/// Objects that only the REST API reads; `*` stands for any ending.
const REST_ONLY: [&str; 23] = [
    "AcceptedEventRelation",
    "DeclinedEventRelation",
    "UndecidedEventRelation",
    "EventWhoRelation",
    "TaskWhoRelation",
    "Attachment",
    "AttachedContentNote",
    "CaseStatus",
    "ContractStatus",
    "OrderStatus",
    "SolutionStatus",
    "TaskStatus",
    "TaskPriority",
    "PartnerRole",
    "RecentlyViewed",
    "CaseTeam*",
    "KnowledgeArticle*",
    "AccountFeed",
    "AssetFeed",
    "ShiftStatus",
    "WorkOrderStatus",
    "WorkOrderLineItemStatus",
    "FieldSecurityClassification",
];

/// Whether Bulk refuses the object.
pub(super) fn rest_only(object: &str) -> bool {
    REST_ONLY.iter().any(|name| match name.strip_suffix('*') {
        Some(stem) => object.get(..stem.len()).is_some_and(|head| head.eq_ignore_ascii_case(stem)),
        None => name.eq_ignore_ascii_case(object),
    })
}

/// Fields by which a load is cut into windows.
const WINDOW_FIELDS: [&str; 3] = ["SystemModstamp", "CreatedDate", "LastModifiedDate"];

/// From and to, in milliseconds.
type Span = (Option<i64>, Option<i64>);

/// How many days the query's narrowest window has; none where it has no beginning. One without an
/// end ends at `now` (milliseconds).
pub(super) fn window_days(filter: Option<&Expr>, now: i64) -> Option<f64> {
    WINDOW_FIELDS
        .iter()
        .filter_map(|field| {
            let (from, to) = filter.map_or((None, None), |filter| span(filter, field));
            #[expect(clippy::cast_precision_loss, reason = "days, not milliseconds, are compared")]
            from.map(|from| to.unwrap_or(now).saturating_sub(from).max(0) as f64 / 86_400_000.0)
        })
        .min_by(f64::total_cmp)
}

fn span(expr: &Expr, field: &str) -> Span {
    let spans = |list: &[Expr]| list.iter().map(|e| span(e, field)).collect::<Vec<Span>>();
    match expr {
        Expr::And(list) => {
            let spans = spans(list);
            (spans.iter().filter_map(|s| s.0).max(), spans.iter().filter_map(|s| s.1).min())
        }
        Expr::Or(list) => {
            let spans = spans(list);
            let from: Option<Vec<i64>> = spans.iter().map(|s| s.0).collect();
            let to: Option<Vec<i64>> = spans.iter().map(|s| s.1).collect();
            (from.and_then(|l| l.into_iter().min()), to.and_then(|l| l.into_iter().max()))
        }
        Expr::Compare { path, op, value: Literal::DateTime(at) }
            if path.text().eq_ignore_ascii_case(field) =>
        {
            match op {
                Op::Eq => (Some(*at), Some(*at)),
                Op::Lt | Op::Le => (None, Some(*at)),
                Op::Gt | Op::Ge => (Some(*at), None),
                Op::Ne => (None, None),
            }
        }
        Expr::Not(_)
        | Expr::Compare { .. }
        | Expr::In { .. }
        | Expr::Like { .. }
        | Expr::Includes { .. } => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soql::parse;

    #[test]
    fn the_list_knows_its_endings_and_no_case() {
        assert!(rest_only("casestatus"));
        assert!(rest_only("KnowledgeArticleVersion"));
        assert!(!rest_only("Case"));
        assert!(!rest_only("CaseStatus__c"));
    }

    #[test]
    fn windows_are_measured() {
        let days = |condition: &str| {
            let query = parse(&format!("SELECT Id FROM A WHERE {condition}")).unwrap();
            window_days(query.filter.as_ref(), 10 * 86_400_000)
        };
        let (a, b) = ("1970-01-02T00:00:00Z", "1970-01-05T12:00:00Z");
        assert_eq!(days(&format!("CreatedDate >= {a} AND CreatedDate < {b}")), Some(3.5));
        assert_eq!(days(&format!("SystemModstamp > {a}")), Some(9.0));
        assert_eq!(days(&format!("SystemModstamp < {b}")), None);
        assert_eq!(days(&format!("SystemModstamp > {a} OR Name = 'x'")), None);
        let keyset = format!(
            "((SystemModstamp = {a} AND Id > '001000000000000') OR SystemModstamp > {a}) AND SystemModstamp <= {b}"
        );
        assert_eq!(days(&keyset), Some(3.5));
        assert_eq!(window_days(None, 0), None);
    }
}
