//! The calls of librdkafka. What is made is owned by a value that destroys it; what a result shows is copied before the
//! result goes.

use super::{Acl, Operation, Resource};
use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};
use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;
use std::time::Duration;
use sys::rd_kafka_AclOperation_t as NativeOperation;
use sys::rd_kafka_AclPermissionType_t as NativePermission;
use sys::rd_kafka_ResourcePatternType_t as NativePattern;
use sys::rd_kafka_ResourceType_t as NativeResource;

/// Longer than the library's own time-out, which says more than ours.
const SLACK: Duration = Duration::from_secs(1);
/// Enough for any message of the library.
const MESSAGE: usize = 512;

/// Something of the library's that is destroyed with this value.
struct Owned<T> {
    raw: *mut T,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    fn new(raw: *mut T, destroy: unsafe extern "C" fn(*mut T), what: &str) -> Result<Self, String> {
        if raw.is_null() { Err(what.to_owned()) } else { Ok(Self { raw, destroy }) }
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: `raw` is not null, was made for `destroy`, and this is its only owner.
        unsafe { (self.destroy)(self.raw) }
    }
}

pub(super) fn describe<C: ClientContext>(client: &Client<C>, patience: Duration) -> Result<Vec<Acl>, String> {
    let filter = any()?;
    let event =
        ask(client, patience, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBEACLS, |client, options, queue| {
            // SAFETY: all four live until the call returns; the library copies the filter.
            unsafe { sys::rd_kafka_DescribeAcls(client, filter.raw, options, queue) }
        })?;
    // SAFETY: the event lives; the library answers null if it is one of another kind.
    let result = unsafe { sys::rd_kafka_event_DescribeAcls_result(event.raw) };
    if result.is_null() {
        return Err("the library answered something else".to_owned());
    }
    let mut count = 0;
    // SAFETY: `result` belongs to the event, which lives until the end of this function.
    let all = unsafe { sys::rd_kafka_DescribeAcls_result_acls(result, &mut count) };
    let mut found = Vec::new();
    for index in 0..count {
        // SAFETY: the library says that `all` has `count` entries; they live as long as the event.
        found.extend(unsafe { read(*all.add(index)) });
    }
    Ok(found)
}

pub(super) fn create<C: ClientContext>(client: &Client<C>, acls: &[Acl], patience: Duration) -> Result<(), String> {
    let made: Vec<_> = acls.iter().map(binding).collect::<Result<_, _>>()?;
    let mut raw: Vec<_> = made.iter().map(|binding| binding.raw).collect();
    let event =
        ask(client, patience, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATEACLS, |client, options, queue| {
            // SAFETY: all of them live until the call returns; the library copies the bindings.
            unsafe { sys::rd_kafka_CreateAcls(client, raw.as_mut_ptr(), raw.len(), options, queue) }
        })?;
    // SAFETY: the event lives; the library answers null if it is one of another kind.
    let result = unsafe { sys::rd_kafka_event_CreateAcls_result(event.raw) };
    if result.is_null() {
        return Err("the library answered something else".to_owned());
    }
    let mut count = 0;
    // SAFETY: `result` belongs to the event, which lives until the end of this function.
    let all = unsafe { sys::rd_kafka_CreateAcls_result_acls(result, &mut count) };
    for (index, acl) in acls.iter().enumerate().take(count) {
        // SAFETY: the library says that `all` has `count` entries, in the order of the request.
        let error = unsafe { sys::rd_kafka_acl_result_error(*all.add(index)) };
        if !error.is_null() {
            // What the cluster adds in words is made for its own log.
            // SAFETY: the error lives as long as the event; the name of a code is a constant that ends with 0.
            let why = unsafe { text(sys::rd_kafka_err2str(sys::rd_kafka_error_code(error))) };
            return Err(format!("{acl}: {why}"));
        }
    }
    Ok(())
}

/// Sends a request and waits for its answer.
fn ask<C: ClientContext>(
    client: &Client<C>,
    patience: Duration,
    operation: sys::rd_kafka_admin_op_t,
    send: impl FnOnce(*mut sys::rd_kafka_t, *const sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t),
) -> Result<Owned<sys::rd_kafka_event_t>, String> {
    let native = client.native_ptr();
    // SAFETY: the client lives; so it does for both calls below.
    let queue = unsafe { sys::rd_kafka_queue_new(native) };
    let queue = Owned::new(queue, sys::rd_kafka_queue_destroy, "no queue")?;
    // SAFETY: as above.
    let options = unsafe { sys::rd_kafka_AdminOptions_new(native, operation) };
    let options = Owned::new(options, sys::rd_kafka_AdminOptions_destroy, "no options")?;
    let mut message: [c_char; MESSAGE] = [0; MESSAGE];
    // SAFETY: the options live, and `message` has the length that is said.
    let set = unsafe {
        sys::rd_kafka_AdminOptions_set_request_timeout(options.raw, millis(patience), message.as_mut_ptr(), MESSAGE)
    };
    if set != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        // SAFETY: the library wrote a text that ends with 0 into `message`.
        return Err(unsafe { text(message.as_ptr()) });
    }
    send(native, options.raw, queue.raw);
    // SAFETY: the queue lives; the event that comes out of it is ours.
    let event = unsafe { sys::rd_kafka_queue_poll(queue.raw, millis(patience + SLACK)) };
    let event = Owned::new(event, sys::rd_kafka_event_destroy, "the cluster does not answer")?;
    // SAFETY: the event lives.
    let failed =
        unsafe { sys::rd_kafka_event_error(event.raw) } != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
    // SAFETY: the message belongs to the event and ends with 0.
    if failed { Err(unsafe { text(sys::rd_kafka_event_error_string(event.raw)) }) } else { Ok(event) }
}

fn millis(time: Duration) -> c_int {
    c_int::try_from(time.as_millis()).unwrap_or(c_int::MAX)
}

/// What matches everything.
fn any() -> Result<Owned<sys::rd_kafka_AclBinding_t>, String> {
    let mut message: [c_char; MESSAGE] = [0; MESSAGE];
    // SAFETY: null stands for any name, principal and host; `message` has the length that is said.
    let filter = unsafe {
        sys::rd_kafka_AclBindingFilter_new(
            NativeResource::RD_KAFKA_RESOURCE_ANY,
            ptr::null(),
            NativePattern::RD_KAFKA_RESOURCE_PATTERN_ANY,
            ptr::null(),
            ptr::null(),
            NativeOperation::RD_KAFKA_ACL_OPERATION_ANY,
            NativePermission::RD_KAFKA_ACL_PERMISSION_TYPE_ANY,
            message.as_mut_ptr(),
            MESSAGE,
        )
    };
    // SAFETY: the library wrote a text that ends with 0 into `message`, or nothing.
    Owned::new(filter, sys::rd_kafka_AclBinding_destroy, &unsafe { text(message.as_ptr()) })
}

fn binding(acl: &Acl) -> Result<Owned<sys::rd_kafka_AclBinding_t>, String> {
    let c_string = |text: &str| CString::new(text).map_err(|_| format!("a name has a NUL in it: {text:?}"));
    let (name, principal, host) = (c_string(&acl.name)?, c_string(&acl.principal)?, c_string(&acl.host)?);
    let resource = match acl.resource {
        Resource::Topic => NativeResource::RD_KAFKA_RESOURCE_TOPIC,
        Resource::Group => NativeResource::RD_KAFKA_RESOURCE_GROUP,
    };
    let pattern = if acl.prefixed {
        NativePattern::RD_KAFKA_RESOURCE_PATTERN_PREFIXED
    } else {
        NativePattern::RD_KAFKA_RESOURCE_PATTERN_LITERAL
    };
    let operation = match acl.operation {
        Operation::All => NativeOperation::RD_KAFKA_ACL_OPERATION_ALL,
        Operation::Read => NativeOperation::RD_KAFKA_ACL_OPERATION_READ,
        Operation::Write => NativeOperation::RD_KAFKA_ACL_OPERATION_WRITE,
        Operation::Describe => NativeOperation::RD_KAFKA_ACL_OPERATION_DESCRIBE,
        Operation::Delete => NativeOperation::RD_KAFKA_ACL_OPERATION_DELETE,
        Operation::DescribeConfigs => NativeOperation::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS,
    };
    let permission = if acl.allows {
        NativePermission::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW
    } else {
        NativePermission::RD_KAFKA_ACL_PERMISSION_TYPE_DENY
    };
    let mut message: [c_char; MESSAGE] = [0; MESSAGE];
    // SAFETY: the three texts end with 0 and live until the call returns, which copies them; `message` has the length
    // that is said.
    let made = unsafe {
        sys::rd_kafka_AclBinding_new(
            resource,
            name.as_ptr(),
            pattern,
            principal.as_ptr(),
            host.as_ptr(),
            operation,
            permission,
            message.as_mut_ptr(),
            MESSAGE,
        )
    };
    // SAFETY: the library wrote a text that ends with 0 into `message`, or nothing.
    Owned::new(made, sys::rd_kafka_AclBinding_destroy, &unsafe { text(message.as_ptr()) })
}

/// Copies an entry; `None` if it is about something else.
///
/// # Safety
/// `entry` has to be one of the library's that lives.
unsafe fn read(entry: *const sys::rd_kafka_AclBinding_t) -> Option<Acl> {
    // SAFETY: by this function's contract; the library keeps what it does not know as UNKNOWN, a value of each type.
    let (resource, pattern, operation, permission) = unsafe {
        (
            sys::rd_kafka_AclBinding_restype(entry),
            sys::rd_kafka_AclBinding_resource_pattern_type(entry),
            sys::rd_kafka_AclBinding_operation(entry),
            sys::rd_kafka_AclBinding_permission_type(entry),
        )
    };
    // SAFETY: as above; the texts end with 0 and belong to the entry.
    let (name, principal, host) = unsafe {
        (
            text(sys::rd_kafka_AclBinding_name(entry)),
            text(sys::rd_kafka_AclBinding_principal(entry)),
            text(sys::rd_kafka_AclBinding_host(entry)),
        )
    };
    let resource = match resource {
        NativeResource::RD_KAFKA_RESOURCE_TOPIC => Resource::Topic,
        NativeResource::RD_KAFKA_RESOURCE_GROUP => Resource::Group,
        _ => return None,
    };
    let operation = match operation {
        NativeOperation::RD_KAFKA_ACL_OPERATION_ALL => Operation::All,
        NativeOperation::RD_KAFKA_ACL_OPERATION_READ => Operation::Read,
        NativeOperation::RD_KAFKA_ACL_OPERATION_WRITE => Operation::Write,
        NativeOperation::RD_KAFKA_ACL_OPERATION_DESCRIBE => Operation::Describe,
        NativeOperation::RD_KAFKA_ACL_OPERATION_DELETE => Operation::Delete,
        NativeOperation::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS => Operation::DescribeConfigs,
        _ => return None,
    };
    let prefixed = match pattern {
        NativePattern::RD_KAFKA_RESOURCE_PATTERN_LITERAL => false,
        NativePattern::RD_KAFKA_RESOURCE_PATTERN_PREFIXED => true,
        _ => return None,
    };
    let allows = match permission {
        NativePermission::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW => true,
        NativePermission::RD_KAFKA_ACL_PERMISSION_TYPE_DENY => false,
        _ => return None,
    };
    Some(Acl { principal, host, resource, name, prefixed, operation, allows })
}

/// Copies a text of the library; none is empty.
///
/// # Safety
/// `raw` has to be null, or a text that ends with 0.
unsafe fn text(raw: *const c_char) -> String {
    if raw.is_null() {
        return String::new();
    }
    // SAFETY: by this function's contract.
    unsafe { CStr::from_ptr(raw) }.to_string_lossy().into_owned()
}
