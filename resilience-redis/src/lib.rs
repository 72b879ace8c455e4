//! The protections of `resilience-core`, shared by a whole fleet through Redis.
