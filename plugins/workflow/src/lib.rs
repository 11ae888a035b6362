use airlock_sdk as _;
