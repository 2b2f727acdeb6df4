//! The typed events that everything long-running reports
