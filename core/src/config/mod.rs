//! Configuration: text in, settings out.

pub mod settings;

pub use settings::Settings;
