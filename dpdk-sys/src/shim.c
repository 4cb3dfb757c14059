#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shim.h"

#define SAME_PLACE(ours, theirs) \
	_Static_assert(offsetof(struct gw_mbuf, ours) == offsetof(struct rte_mbuf, theirs) && \
			       sizeof(((struct gw_mbuf *)0)->ours) == sizeof(((struct rte_mbuf *)0)->theirs), \
		       "struct rte_mbuf has another layout in this version of DPDK: adapt struct gw_mbuf")

SAME_PLACE(buf_addr, buf_addr);
SAME_PLACE(data_off, data_off);
SAME_PLACE(refcnt, refcnt);
SAME_PLACE(nb_segs, nb_segs);
SAME_PLACE(port, port);
SAME_PLACE(ol_flags, ol_flags);
SAME_PLACE(packet_type, packet_type);
SAME_PLACE(pkt_len, pkt_len);
SAME_PLACE(data_len, data_len);
SAME_PLACE(vlan_tci, vlan_tci);
SAME_PLACE(rss_hash, hash.rss);
SAME_PLACE(vlan_tci_outer, vlan_tci_outer);
SAME_PLACE(buf_len, buf_len);
SAME_PLACE(pool, pool);

int gw_eal_init(int argc, char **argv, int cpu)
{
	cpu_set_t before;
	const bool saved = sched_getaffinity(0, sizeof(before), &before) == 0;

	if (saved && cpu >= 0 && cpu < CPU_SETSIZE && CPU_ISSET(cpu, &before)) {
		cpu_set_t narrow;

		CPU_ZERO(&narrow);
		CPU_SET(cpu, &narrow);
		sched_setaffinity(0, sizeof(narrow), &narrow);
	}
	rte_openlog_stream(stderr);
	const int parsed = rte_eal_init(argc, argv);
	const int error = rte_errno;

	if (saved)
		sched_setaffinity(0, sizeof(before), &before);
	rte_errno = error;
	return parsed;
}

int gw_errno(void)
{
	return rte_errno;
}

uint32_t gw_lcore_id(void)
{
	return rte_lcore_id();
}

uint16_t gw_rx_burst(uint16_t port, uint16_t queue, struct gw_mbuf **frames, uint16_t frames_max)
{
	return rte_eth_rx_burst(port, queue, (struct rte_mbuf **)frames, frames_max);
}

uint16_t gw_tx_burst(uint16_t port, uint16_t queue, struct gw_mbuf **frames, uint16_t frames_len)
{
	return rte_eth_tx_burst(port, queue, (struct rte_mbuf **)frames, frames_len);
}

struct gw_mbuf *gw_mbuf_alloc(struct rte_mempool *pool)
{
	return (struct gw_mbuf *)rte_pktmbuf_alloc(pool);
}

void gw_mbuf_free(struct gw_mbuf *frame)
{
	rte_pktmbuf_free((struct rte_mbuf *)frame);
}

void gw_mbuf_chain(struct gw_mbuf *head, struct gw_mbuf *tail)
{
	rte_pktmbuf_chain((struct rte_mbuf *)head, (struct rte_mbuf *)tail);
}

uint32_t gw_mempool_stride(const struct rte_mempool *pool)
{
	return pool->header_size + pool->elt_size + pool->trailer_size;
}

int gw_ring_push(struct rte_ring *ring, struct gw_mbuf *frame)
{
	return rte_ring_enqueue(ring, frame);
}

struct gw_mbuf *gw_ring_pop(struct rte_ring *ring)
{
	void *frame = NULL;

	return rte_ring_dequeue(ring, &frame) == 0 ? frame : NULL;
}

int gw_link_get(uint16_t port, struct gw_link *link)
{
	struct rte_eth_link raw = {0};
	const int result = rte_eth_link_get_nowait(port, &raw);

	link->up = raw.link_status == RTE_ETH_LINK_UP;
	link->speed_mbps = raw.link_speed;
	return result;
}

int gw_interface_mtu(unsigned int index)
{
	struct ifreq request = {0};

	if (if_indextoname(index, request.ifr_name) == NULL)
		return -1;
	const int any_socket = socket(AF_INET, SOCK_DGRAM, 0);

	if (any_socket < 0)
		return -1;
	const int result = ioctl(any_socket, SIOCGIFMTU, &request);

	close(any_socket);
	return result < 0 ? -1 : request.ifr_mtu;
}
