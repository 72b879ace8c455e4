//! A restaurant-ordering service at noon.
