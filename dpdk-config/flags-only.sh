#!/bin/sh
# The load balancer of two-arm.toml, said by flags alone. What follows `--` goes to EAL.
# Two rules with a backend port each need a pool each, for --backend sets the port of the rule of its name.
exec guideway run \
  --workers 2-5 --management-cpu 0 --flows-per-worker 1048576 --idle spin \
  --control-socket /run/guideway/control.sock \
  --port outside=0000:3b:00.0 --address outside=198.51.100.2/24 --gateway outside=198.51.100.1 \
  --port inside=0000:3b:00.1 --address inside=10.0.0.1/24 \
  --frontend https=203.0.113.10:443/tcp \
  --backend https=10.0.0.4:8443 \
  --backend https=10.0.0.5:8443,weight=2 \
  --backend https=10.0.0.6:8443,state=drain \
  --frontend http=203.0.113.10:80/tcp \
  --backend http=10.0.0.4:8080 \
  --backend http=10.0.0.5:8080,weight=2 \
  --backend http=10.0.0.6:8080,state=drain \
  --frontend relay=203.0.113.11:3478/udp \
  --backend relay=10.0.0.100 --backend relay=10.0.0.101 --backend relay=10.0.0.102 \
  --distribution relay=source-ip --idle-timeout relay=30s --no-healthy-backends relay=all \
  -- --file-prefix=gw
