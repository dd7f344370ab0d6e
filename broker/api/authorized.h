/* broker/api/authorized.h - "authorized operations": bit n is set when the asker may do ACL operation n. Without an
 * authorizer everybody may do all that makes sense for the kind of resource.
 */
#ifndef BROKER_API_AUTHORIZED_H
#define BROKER_API_AUTHORIZED_H

enum acl_operation {
    ACL_READ = 3, ACL_WRITE, ACL_CREATE, ACL_DELETE, ACL_ALTER, ACL_DESCRIBE, ACL_CLUSTER_ACTION, ACL_DESCRIBE_CONFIGS,
    ACL_ALTER_CONFIGS, ACL_IDEMPOTENT_WRITE
};

#define ACL_BIT(op) (1 << (op))

enum {
    AUTHORIZED_TOPIC = ACL_BIT(ACL_READ) | ACL_BIT(ACL_WRITE) | ACL_BIT(ACL_CREATE) | ACL_BIT(ACL_DELETE) |
                       ACL_BIT(ACL_ALTER) | ACL_BIT(ACL_DESCRIBE) | ACL_BIT(ACL_DESCRIBE_CONFIGS) |
                       ACL_BIT(ACL_ALTER_CONFIGS),
    AUTHORIZED_GROUP = ACL_BIT(ACL_READ) | ACL_BIT(ACL_DELETE) | ACL_BIT(ACL_DESCRIBE),
    AUTHORIZED_CLUSTER = ACL_BIT(ACL_CREATE) | ACL_BIT(ACL_ALTER) | ACL_BIT(ACL_DESCRIBE) |
                         ACL_BIT(ACL_CLUSTER_ACTION) | ACL_BIT(ACL_DESCRIBE_CONFIGS) | ACL_BIT(ACL_ALTER_CONFIGS) |
                         ACL_BIT(ACL_IDEMPOTENT_WRITE),
};

#endif
