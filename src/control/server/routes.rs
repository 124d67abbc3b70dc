//! The table of requests: every route once, with its method. The router is made from it, the
//! `OpenAPI` document is compared with it, and nothing else is served.

use super::{events, handlers};
use crate::control::protocol::Commands;
use axum::Router;
use axum::routing::{MethodRouter, get, post, put};
use std::sync::Arc;

type Maker = fn() -> MethodRouter<Arc<dyn Commands>>;

/// A request that is served.
pub struct Route {
    /// In lower case.
    pub method: &'static str,
    /// With `{…}` for what varies.
    pub path: &'static str,
    make: Maker,
}

/// Every request there is.
pub fn table() -> Vec<Route> {
    vec![
        Route { method: "get", path: "/v1/status", make: || get(handlers::status) },
        Route { method: "get", path: "/v1/connections", make: || get(handlers::connections) },
        Route { method: "get", path: "/v1/connections/{name}", make: || get(handlers::detail) },
        Route {
            method: "post",
            path: "/v1/connections/{name}/sync",
            make: || post(handlers::sync),
        },
        Route {
            method: "post",
            path: "/v1/connections/{name}/pause",
            make: || post(handlers::pause),
        },
        Route {
            method: "post",
            path: "/v1/connections/{name}/resume",
            make: || post(handlers::resume),
        },
        Route {
            method: "post",
            path: "/v1/connections/{name}/test",
            make: || post(handlers::test),
        },
        Route {
            method: "post",
            path: "/v1/connections/{name}/reauthorize",
            make: || post(handlers::reauthorize),
        },
        Route {
            method: "post",
            path: "/v1/connections/{name}/disconnect",
            make: || post(handlers::disconnect),
        },
        Route {
            method: "post",
            path: "/v1/connections/{name}/approve",
            make: || post(handlers::approve),
        },
        Route {
            method: "post",
            path: "/v1/connections/{name}/forget",
            make: || post(handlers::forget),
        },
        Route {
            method: "post",
            path: "/v1/connections/{name}/rename",
            make: || post(handlers::rename),
        },
        Route {
            method: "put",
            path: "/v1/connections/{name}/secrets/{key}",
            make: || put(handlers::set_secret),
        },
        Route {
            method: "get",
            path: "/v1/connections/{name}/fields",
            make: || get(handlers::fields),
        },
        Route { method: "get", path: "/v1/connections/{name}/runs", make: || get(handlers::runs) },
        Route { method: "get", path: "/v1/runs/{id}", make: || get(handlers::run) },
        Route {
            method: "post",
            path: "/v1/requests/{id}/callback",
            make: || post(handlers::callback),
        },
        Route {
            method: "post",
            path: "/v1/requests/{id}/password",
            make: || post(handlers::password),
        },
        Route {
            method: "post",
            path: "/v1/requests/{id}/confirm",
            make: || post(handlers::confirm),
        },
        Route { method: "post", path: "/v1/requests/{id}/reject", make: || post(handlers::reject) },
        Route { method: "get", path: "/v1/notices", make: || get(handlers::notices) },
        Route { method: "get", path: "/v1/mails", make: || get(handlers::mails) },
        Route { method: "get", path: "/v1/audit", make: || get(handlers::audit) },
        Route { method: "get", path: "/v1/quota", make: || get(handlers::quota) },
        Route { method: "get", path: "/v1/config", make: || get(handlers::config) },
        Route { method: "post", path: "/v1/reload", make: || post(handlers::reload) },
        Route { method: "post", path: "/v1/notify/test", make: || post(handlers::notify_test) },
        Route { method: "get", path: "/v1/key", make: || get(handlers::key) },
        Route { method: "get", path: "/v1/events", make: || get(events::events) },
        Route { method: "get", path: "/v1/openapi.json", make: || get(events::openapi) },
    ]
}

/// All of the table.
pub fn router() -> Router<Arc<dyn Commands>> {
    table()
        .into_iter()
        .fold(Router::new(), |router, route| router.route(route.path, (route.make)()))
}
