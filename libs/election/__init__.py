"""Leadership of a shard through an etcd lease: campaign, hold, resign, epoch."""
