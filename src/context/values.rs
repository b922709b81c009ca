//! What a context carries: one value of a type, the nearest counts.

use std::any::{Any, TypeId};
use std::panic::RefUnwindSafe;
use std::sync::Arc;

/// A value, and those that were there before.
pub(super) struct Values {
    key: TypeId,
    value: Arc<dyn Any + Send + Sync>,
    outer: Option<Arc<Values>>,
}

// A value is never changed through its context.
impl RefUnwindSafe for Values {}

impl Values {
    pub(super) fn with<T: Send + Sync + 'static>(
        outer: Option<Arc<Values>>,
        value: T,
    ) -> Arc<Self> {
        Arc::new(Values { key: TypeId::of::<T>(), value: Arc::new(value), outer })
    }

    pub(super) fn find<T: Send + Sync + 'static>(
        mut values: Option<&Arc<Values>>,
    ) -> Option<Arc<T>> {
        let key = TypeId::of::<T>();
        while let Some(at) = values {
            if at.key == key {
                return at.value.clone().downcast().ok();
            }
            values = at.outer.as_ref();
        }
        None
    }
}

impl Drop for Values {
    /// One after the other: a long chain must not go deep.
    fn drop(&mut self) {
        let mut next = self.outer.take();
        while let Some(outer) = next {
            next = Arc::into_inner(outer).and_then(|mut outer| outer.outer.take());
        }
    }
}
