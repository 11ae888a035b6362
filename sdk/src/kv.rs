//! Key-value buckets, over `wasi:keyvalue`. What a bucket may hold, and whether it
//! is one principal's or shared by all callers of the plugin, is the grant's.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Error, backend};

const UPDATE_ATTEMPTS_MAX: u32 = 64;

/// A collection of keys with values.
pub struct Bucket {
    inner: backend::Bucket,
    name: String,
}

impl Bucket {
    /// Opens a bucket by the name in its grant.
    ///
    /// # Errors
    /// [`Error::Denied`] when no grant covers it.
    pub fn open(name: &str) -> Result<Self, Error> {
        let inner = backend::Bucket::open(name)?;
        Ok(Self {
            inner,
            name: name.to_owned(),
        })
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`Error::Denied`] when the grant does not allow reading.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        self.inner.get(key)
    }

    /// The value of a key, read from JSON.
    ///
    /// # Errors
    /// As [`Bucket::get`]; [`Error::Permanent`] when the value is not such JSON.
    pub fn get_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        let Some(bytes) = self.get(key)? else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| Error::Permanent(format!("{}/{key}: {error}", self.name)))
    }

    /// Sets the value of a key.
    ///
    /// # Errors
    /// [`Error::Denied`] when the grant does not allow writing; whatever the host
    /// says of a quota.
    pub fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        self.inner.set(key, value)
    }

    /// Sets the value of a key, written as JSON.
    ///
    /// # Errors
    /// As [`Bucket::set`]; [`Error::Permanent`] when the value has no JSON form.
    pub fn set_json<T: Serialize>(&self, key: &str, value: &T) -> Result<(), Error> {
        let bytes =
            serde_json::to_vec(value).map_err(|error| Error::Permanent(error.to_string()))?;
        self.set(key, &bytes)
    }

    /// Removes a key; nothing happens when there is none.
    ///
    /// # Errors
    /// As [`Bucket::set`].
    pub fn delete(&self, key: &str) -> Result<(), Error> {
        self.inner.delete(key)
    }

    /// Whether there is such a key.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    pub fn exists(&self, key: &str) -> Result<bool, Error> {
        self.inner.exists(key)
    }

    /// All keys, in no particular order, page by page.
    ///
    /// # Errors
    /// As [`Bucket::get`].
    pub fn list(&self) -> Result<Vec<String>, Error> {
        let (mut keys, mut cursor) = self.inner.list(None)?;
        while cursor.is_some() {
            let (page, next) = self.inner.list(cursor)?;
            keys.extend(page);
            cursor = next;
        }
        Ok(keys)
    }

    /// Adds to a number in one step; a missing key counts as 0. Gives the sum.
    ///
    /// # Errors
    /// As [`Bucket::set`]; whatever the host says of a value that is no number,
    /// or of an overflow.
    pub fn increment(&self, key: &str, delta: i64) -> Result<i64, Error> {
        self.inner.increment(key, delta)
    }

    /// Sets `new` if the value is `expected` (`None`: if there is none), in one
    /// step. `false`: the value was another.
    ///
    /// # Errors
    /// As [`Bucket::set`].
    pub fn compare_and_swap(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        new: &[u8],
    ) -> Result<bool, Error> {
        self.inner.swap(key, &mut |current| {
            Ok((current.as_deref() == expected).then(|| new.to_vec()))
        })
    }

    /// Replaces the value by what `change` makes of it, in one step: `change` runs
    /// again when another call was faster.
    ///
    /// # Errors
    /// As [`Bucket::set`] and those of `change`; [`Error::Transient`] when others
    /// were faster 64 times.
    pub fn update(
        &self,
        key: &str,
        mut change: impl FnMut(Option<Vec<u8>>) -> Result<Vec<u8>, Error>,
    ) -> Result<(), Error> {
        for _ in 0..UPDATE_ATTEMPTS_MAX {
            if self
                .inner
                .swap(key, &mut |current| change(current).map(Some))?
            {
                return Ok(());
            }
        }
        Err(Error::transient(
            format!("{}/{key}: others keep changing it", self.name),
            None,
        ))
    }
}
