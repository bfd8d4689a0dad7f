"""What an object store says of a bucket or an object beside its contents: who may do what, versions, policies, tags.

Nothing of it can be set: a store without versions, policies and tags answers as S3 does for one, and every change with 501.
"""

from __future__ import annotations

SPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
OWNER = "<ID>7f3a9c</ID><DisplayName>owner</DisplayName>"

_PAGES = {
    "accelerate": f"<AccelerateConfiguration {SPACE}/>",
    "logging": f"<BucketLoggingStatus {SPACE}/>",
    "notification": f"<NotificationConfiguration {SPACE}/>",
    "requestPayment": f"<RequestPaymentConfiguration {SPACE}><Payer>BucketOwner</Payer></RequestPaymentConfiguration>",
    "versioning": f"<VersioningConfiguration {SPACE}/>",
}
_ABSENT = {
    "cors": "NoSuchCORSConfiguration",
    "encryption": "ServerSideEncryptionConfigurationNotFoundError",
    "lifecycle": "NoSuchLifecycleConfiguration",
    "object-lock": "ObjectLockConfigurationNotFoundError",
    "ownershipControls": "OwnershipControlsNotFoundError",
    "policy": "NoSuchBucketPolicy",
    "policyStatus": "NoSuchBucketPolicy",
    "publicAccessBlock": "NoSuchPublicAccessBlockConfiguration",
    "replication": "ReplicationConfigurationNotFoundError",
    "tagging": "NoSuchTagSet",
    "website": "NoSuchWebsiteConfiguration",
}
_OF_OBJECTS = {"legal-hold": "NoSuchObjectLockConfiguration", "retention": "NoSuchObjectLockConfiguration"}
_UNKNOWN = {"analytics", "attributes", "intelligent-tiering", "inventory", "metrics", "restore", "select", "session", "torrent"}
_NAMES = {"acl", "versions", *_PAGES, *_ABSENT, *_OF_OBJECTS, *_UNKNOWN}


def asked_for(method: str, query: dict[str, str]) -> str:
    """The name of what a request is about beside contents; empty for contents, places and uploads in parts."""
    if method in ("GET", "HEAD") and (listed := {"uploads", "uploadId"} & query.keys()):
        return listed.pop()
    return next((name for name in query if name in _NAMES), "")


def said(name: str, *, of_object: bool, public: bool) -> tuple[int, str]:
    """200 and the document, or the status and code of the error, for a reader of what exists."""
    if name == "acl":
        return 200, _access(public)
    if of_object:
        if name == "tagging":
            return 200, f"<Tagging {SPACE}><TagSet/></Tagging>"
        return (404, _OF_OBJECTS[name]) if name in _OF_OBJECTS else (501, "NotImplemented")
    if name in _PAGES:
        return 200, _PAGES[name]
    return (404, _ABSENT[name]) if name in _ABSENT else (501, "NotImplemented")


def _access(public: bool) -> str:
    grants = _grant("CanonicalUser", OWNER, "FULL_CONTROL")
    if public:
        grants += _grant("Group", "<URI>http://acs.amazonaws.com/groups/global/AllUsers</URI>", "READ")
    return (
        f"<AccessControlPolicy {SPACE}><Owner>{OWNER}</Owner>"
        f"<AccessControlList>{grants}</AccessControlList></AccessControlPolicy>"
    )


def _grant(kind: str, who: str, what: str) -> str:
    grantee = f'<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="{kind}">{who}</Grantee>'
    return f"<Grant>{grantee}<Permission>{what}</Permission></Grant>"
