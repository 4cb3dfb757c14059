/* What Rust cannot reach by itself: functions that DPDK defines inline, thread-local variables, and structures
 * whose C declaration changed between the versions we build with. Everything here has the prefix gw_. */
#ifndef GW_SHIM_H
#define GW_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <rte_bus.h>
#include <rte_bus_vdev.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_ring.h>

/* The first cache line of struct rte_mbuf, as plain fields: DPDK wraps them in unnamed unions and markers
 * that differ from version to version, which would give them other names in Rust. The order of the fields has
 * been the same since 18.05, because vector drivers rely on it; shim.c asserts it at compile time. */
struct gw_mbuf {
	void *buf_addr;
	uint64_t buf_iova;
	uint16_t data_off;
	uint16_t refcnt;
	uint16_t nb_segs;
	uint16_t port;
	uint64_t ol_flags;
	uint32_t packet_type;
	uint32_t pkt_len;
	uint16_t data_len;
	uint16_t vlan_tci;
	uint32_t rss_hash;
	uint32_t hash_high;
	uint16_t vlan_tci_outer;
	uint16_t buf_len;
	struct rte_mempool *pool;
};

struct gw_link {
	bool up;
	/* In Mbit/s; 0 or UINT32_MAX where the driver does not know it. */
	uint32_t speed_mbps;
};

/* Macros of DPDK that bindgen cannot evaluate. */
static const uint64_t GW_RSS_IP = RTE_ETH_RSS_IP;
static const uint64_t GW_RSS_TCP = RTE_ETH_RSS_TCP;
static const uint64_t GW_RSS_UDP = RTE_ETH_RSS_UDP;
static const uint64_t GW_RX_IPV4_CHECKSUM = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
static const uint64_t GW_RX_L4_CHECKSUM = RTE_ETH_RX_OFFLOAD_TCP_CKSUM | RTE_ETH_RX_OFFLOAD_UDP_CKSUM;
static const uint64_t GW_RX_SCATTER = RTE_ETH_RX_OFFLOAD_SCATTER;
static const uint64_t GW_TX_IPV4_CHECKSUM = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
static const uint64_t GW_TX_L4_CHECKSUM = RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
static const uint64_t GW_TX_FAST_FREE = RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
static const uint16_t GW_HEADROOM_BYTES = RTE_PKTMBUF_HEADROOM;
static const uint16_t GW_MBUF_BYTES = sizeof(struct rte_mbuf);

/* Runs rte_eal_init on the calling thread and gives the thread its CPU affinity back. EAL's control threads
 * run on the CPUs that the calling thread may use, less those of EAL's lcores: with `cpu` not negative the
 * thread is held on that CPU meanwhile, so they stay away from the workers. EAL's log goes to stderr, also
 * where this version would send it to syslog as well. */
int gw_eal_init(int argc, char **argv, int cpu);

/* rte_errno of this thread. */
int gw_errno(void);

/* The number EAL knows this thread by; UINT32_MAX where it does not know it. */
uint32_t gw_lcore_id(void);

uint16_t gw_rx_burst(uint16_t port, uint16_t queue, struct gw_mbuf **frames, uint16_t frames_max);
uint16_t gw_tx_burst(uint16_t port, uint16_t queue, struct gw_mbuf **frames, uint16_t frames_len);

struct gw_mbuf *gw_mbuf_alloc(struct rte_mempool *pool);
void gw_mbuf_free(struct gw_mbuf *frame);
/* Appends `tail` to `head` as further segments: what a driver with scattered receive does, for tests. */
void gw_mbuf_chain(struct gw_mbuf *head, struct gw_mbuf *tail);

/* Bytes from one object of the pool to the next. */
uint32_t gw_mempool_stride(const struct rte_mempool *pool);

/* 0, or negative and `frame` is still the caller's. */
int gw_ring_push(struct rte_ring *ring, struct gw_mbuf *frame);
/* NULL where the ring is empty. */
struct gw_mbuf *gw_ring_pop(struct rte_ring *ring);

int gw_link_get(uint16_t port, struct gw_link *link);

/* The MTU of an interface of the kernel, by its index; negative where there is none. */
int gw_interface_mtu(unsigned int index);

#endif
