/* SPDX-License-Identifier: MIT */
/* Groups tied channels by the nodes in which they stand. */
#include "nmi_clique.h"

#include <string.h>

void nmi_cliques_free(nmi_cliques *cliques)
{
    nmi_context *context = cliques->context;
    nmi_ties_free(context, &cliques->ties);
    nmi_free(context, cliques->node_of);
    nmi_free(context, cliques->place_start);
    nmi_free(context, cliques->places);
    nmi_free(context, cliques->rank);
    nmi_free(context, cliques->content);
    nmi_free(context, cliques->group_of);
    nmi_free(context, cliques->slot_of);
    nmi_free(context, cliques->member_start);
    nmi_free(context, cliques->members);
}

static neumeta_status allocate(nmi_cliques *cliques, int64_t places)
{
    nmi_context *context = cliques->context;
    int64_t classes = cliques->ties.class_count;
    cliques->node_of = nmi_alloc_array(context, places, sizeof *cliques->node_of);
    cliques->place_start = nmi_alloc_zero_array(context, classes + 1, sizeof(int64_t));
    cliques->places = nmi_alloc_array(context, places, sizeof(int64_t));
    cliques->rank = nmi_alloc_array(context, places, sizeof(int64_t));
    cliques->content = nmi_alloc_array(context, classes, sizeof(int64_t));
    cliques->group_of = nmi_alloc_array(context, classes, sizeof *cliques->group_of);
    cliques->slot_of = nmi_alloc_zero_array(context, classes, sizeof(int64_t));
    cliques->member_start = nmi_alloc_zero_array(context, classes + 1, sizeof(int64_t));
    cliques->members = nmi_alloc_zero_array(context, classes, sizeof(int64_t));
    bool complete = cliques->node_of != NULL && cliques->place_start != NULL &&
                    cliques->places != NULL && cliques->rank != NULL && cliques->content != NULL &&
                    cliques->group_of != NULL && cliques->slot_of != NULL &&
                    cliques->member_start != NULL && cliques->members != NULL;
    return complete ? NEUMETA_OK : NEUMETA_ERR_MEMORY;
}

/* Lists the places of each class; content doubles as the count of those listed so far. */
static void list_places(const nmi_topology *topology, nmi_cliques *cliques)
{
    const nmi_ties *ties = &cliques->ties;
    int64_t places = ties->offset[topology->node_count];
    for (int32_t node = 0; node < topology->node_count; node++)
        for (int64_t place = ties->offset[node]; place < ties->offset[node + 1]; place++)
            cliques->node_of[place] = node;
    for (int64_t place = 0; place < places; place++)
        cliques->place_start[ties->class_of[place] + 1]++;
    for (int64_t class = 0; class < ties->class_count; class ++) {
        cliques->place_start[class + 1] += cliques->place_start[class];
        cliques->content[class] = 0;
    }
    for (int64_t place = 0; place < places; place++) {
        int64_t class = ties->class_of[place];
        cliques->rank[place] = cliques->content[class]++;
        cliques->places[cliques->place_start[class] + cliques->rank[place]] = place;
    }
    for (int64_t class = 0; class < ties->class_count; class ++)
        cliques->content[class] = class;
}

static bool same_nodes(const nmi_cliques *cliques, int64_t a, int64_t b)
{
    const int64_t *first = cliques->places + cliques->place_start[a];
    const int64_t *second = cliques->places + cliques->place_start[b];
    int64_t count = cliques->place_start[a + 1] - cliques->place_start[a];
    if (cliques->place_start[b + 1] - cliques->place_start[b] != count)
        return false;
    for (int64_t i = 0; i < count; i++)
        if (cliques->node_of[first[i]] != cliques->node_of[second[i]])
            return false;
    return true;
}

/* Puts a class into the first group whose representative fits, or opens a new one. Until
 * list_members(), members[group] is the representative and member_start[group + 1] the size. */
static void join_group(nmi_cliques *cliques, int64_t class)
{
    int32_t group = 0;
    while (group < cliques->group_count && !same_nodes(cliques, cliques->members[group], class))
        group++;
    if (group == cliques->group_count)
        cliques->members[cliques->group_count++] = class;
    cliques->group_of[class] = group;
    cliques->slot_of[class] = cliques->member_start[group + 1]++;
}

static void list_members(nmi_cliques *cliques)
{
    for (int32_t group = 0; group < cliques->group_count; group++)
        cliques->member_start[group + 1] += cliques->member_start[group];
    for (int64_t class = 0; class < cliques->ties.class_count; class ++)
        if (cliques->group_of[class] >= 0)
            cliques->members[cliques->member_start[cliques->group_of[class]] +
                             cliques->slot_of[class]] = class;
}

neumeta_status nmi_cliques_create(const nmi_network *network, nmi_cliques *out)
{
    const nmi_topology *topology = network->topology;
    memset(out, 0, sizeof *out);
    out->context = network->object.context;
    neumeta_status status = nmi_ties_create_at(topology, network->sizes, &out->ties);
    if (status != NEUMETA_OK)
        return status;
    int64_t places = out->ties.offset[topology->node_count];
    status = allocate(out, places);
    if (status != NEUMETA_OK)
        return status;
    list_places(topology, out);
    for (int64_t class = 0; class < out->ties.class_count; class ++)
        out->group_of[class] = -1;
    for (int64_t place = 0; place < places; place++) {
        int64_t class = out->ties.class_of[place];
        if (out->rank[place] == 0 && !out->ties.fixed[class])
            join_group(out, class);
    }
    list_members(out);
    return NEUMETA_OK;
}

int64_t nmi_cliques_place(const nmi_cliques *cliques, int64_t place)
{
    int64_t class = cliques->content[cliques->ties.class_of[place]];
    return cliques->places[cliques->place_start[class] + cliques->rank[place]];
}

int64_t nmi_cliques_content(const void *cliques, int32_t node, int64_t channel)
{
    const nmi_cliques *all = cliques;
    int64_t offset = all->ties.offset[node];
    return nmi_cliques_place(all, offset + channel) - offset;
}
