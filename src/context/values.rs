//! [`Values`]: the values that a context carries, at most one visible per type.

use std::any::{Any, TypeId};
use std::panic::RefUnwindSafe;
use std::sync::Arc;

use crate::panics::drop_flat;

/// A value, and the list of the values that were set before it.
pub(super) struct Values {
    key: TypeId,
    /// `None` once it is being dropped.
    value: Option<Arc<dyn Any + Send + Sync>>,
    outer: Option<Arc<Values>>,
}

// A context gives only shared references to its values.
impl RefUnwindSafe for Values {}

impl Values {
    pub(super) fn with<T: Send + Sync + 'static>(
        outer: Option<Arc<Values>>,
        value: T,
    ) -> Arc<Self> {
        Arc::new(Values { key: TypeId::of::<T>(), value: Some(Arc::new(value)), outer })
    }

    pub(super) fn find<T: Send + Sync + 'static>(
        mut values: Option<&Arc<Values>>,
    ) -> Option<Arc<T>> {
        let key = TypeId::of::<T>();
        while let Some(at) = values {
            if at.key == key {
                return at.value.clone()?.downcast().ok();
            }
            values = at.outer.as_ref();
        }
        None
    }
}

impl Drop for Values {
    /// Drops the list in a loop, because recursion over a long list would overflow the stack. So
    /// would a value that owns a context with such a value, and so on.
    fn drop(&mut self) {
        drop_flat(self.value.take());
        let mut next = self.outer.take();
        while let Some(outer) = next {
            next = Arc::into_inner(outer).and_then(|mut outer| outer.outer.take());
        }
    }
}
