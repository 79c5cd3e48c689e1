/* SPDX-License-Identifier: MIT */
/* Which channels of a full network a narrow one has, by both gauges, through every kind of node. */
#include "nmi_channel_map.h"
#include "nmi_networks.h"

enum { MOST = 256 };

typedef struct mapped {
    nmi_network *full, *narrow;
    nmi_channel_map map;
    nmi_origin origins[MOST];
    bool used[MOST];
} mapped;

/* The network at full sizes and at `sizes`; consumes the topology. */
static mapped *map_create(nmi_topology *topology, int32_t output, const int64_t *sizes)
{
    nmi_context *ctx = topology->object.context;
    mapped *m = calloc(1, sizeof *m);
    ck_assert_ptr_nonnull(m);
    m->full = test_sealed(topology, output, 1);
    assert_ok(ctx, nmi_network_create(ctx, m->full->topology, sizes, &m->narrow));
    assert_ok(ctx, nmi_channel_map_create(ctx, m->full->topology, m->full->shapes, &m->map));
    ck_assert_int_le(m->map.largest, MOST);
    return m;
}

static void map_free(mapped *m)
{
    nmi_context *ctx = m->full->object.context;
    nmi_channel_map_free(ctx, &m->map);
    nmi_network_release(m->narrow);
    nmi_network_release(m->full);
    free(m);
}

static void assert_origins(mapped *m, int32_t node, const int64_t *expected, int64_t count)
{
    nmi_channel_origins(&m->map, NMI_GAUGE_ABSOLUTE, m->narrow, node, m->origins, m->used);
    ck_assert_int_eq(m->narrow->shapes[node].channels, count);
    for (int64_t c = 0; c < count; c++) {
        ck_assert_msg(m->origins[c].at == expected[c], "channel %d is %d, not %d", (int)c,
                      (int)m->origins[c].at, (int)expected[c]);
        ck_assert_int_eq(m->origins[c].next, m->origins[c].at);
        ck_assert(m->origins[c].share == 0);
    }
}

START_TEST(gauges_worked_by_hand)
{
    const nmi_origin half[] = {{0, 1, 0.5f}, {2, 3, 0.5f}, {4, 5, 0.5f}, {6, 7, 0.5f}};
    for (int64_t c = 0; c < 4; c++) {
        const nmi_origin relative = nmi_origin_at(NMI_GAUGE_RELATIVE, c, 4, 8);
        ck_assert_int_eq(nmi_origin_at(NMI_GAUGE_ABSOLUTE, c, 4, 8).at, c);
        ck_assert_int_eq(nmi_origin_at(NMI_GAUGE_NEAREST, c, 4, 8).at, 2 * c);
        ck_assert_int_eq(relative.at, half[c].at);
        ck_assert_int_eq(relative.next, half[c].next);
        ck_assert_float_eq(relative.share, half[c].share);
    }
    /* More than there are, as when a small block is cloned to a large one: clamped. */
    const nmi_origin first = nmi_origin_at(NMI_GAUGE_RELATIVE, 0, 8, 4);
    const nmi_origin last = nmi_origin_at(NMI_GAUGE_RELATIVE, 7, 8, 4);
    ck_assert(first.at == 0 && first.share == 0);
    ck_assert(last.at == 3 && last.next == 3 && last.share == 0);
    for (int64_t c = 0; c < 7; c++) {
        const nmi_origin same = nmi_origin_at(NMI_GAUGE_RELATIVE, c, 7, 7);
        ck_assert(same.at == c && same.next == c && same.share == 0);
    }
}
END_TEST

START_TEST(joined_and_flattened_channels_keep_their_places)
{
    nmi_context *ctx = test_context();
    nmi_topology *t = test_topology(ctx);
    const int32_t five = test_axis(t, "five", NEUMETA_AXIS_WIDTH, 1, 5);
    const int32_t four = test_axis(t, "four", NEUMETA_AXIS_WIDTH, 1, 4);
    const int32_t classes = test_axis(t, "classes", NEUMETA_AXIS_WIDTH, 2, 2);
    const int32_t in = test_input(t, 1, 2);
    const int32_t a = test_conv(t, "a", in, five), b = test_conv(t, "b", in, four);
    const int32_t both = test_join(t, "both", NEUMETA_OP_CONCAT, a, b);
    const int32_t relu = test_unary(t, "relu", NEUMETA_OP_ACTIVATION, both);
    const int32_t flat = test_unary(t, "flat", NEUMETA_OP_FLATTEN, relu);
    const int64_t sizes[] = {2, 3, 2};
    mapped *m = map_create(t, test_linear(t, "fc", flat, classes), sizes);
    assert_origins(m, relu, (const int64_t[]){0, 1, 5, 6, 7}, 5);
    assert_origins(m, flat, (const int64_t[]){0,  1,  2,  3,  4,  5,  6,  7,  20, 21,
                                              22, 23, 24, 25, 26, 27, 28, 29, 30, 31},
                   20);
    nmi_channel_origins(&m->map, NMI_GAUGE_RELATIVE, m->narrow, flat, m->origins, m->used);
    /* Channel 1 of 2 is 3.25 of 5: pixel 1 lies between those of channels 3 and 4. */
    ck_assert_int_eq(m->origins[5].at, 13);
    ck_assert_int_eq(m->origins[5].next, 17);
    ck_assert_float_eq(m->origins[5].share, 0.25f);
    map_free(m);
    neumeta_context_free(ctx);
}
END_TEST

/* Four channels in the middle of eight, those in the middle of twelve; a convolution is added to
 * each, which has the same channels. */
static void check_shortcuts(int64_t four, int64_t eight, int64_t twelve, const int64_t *second,
                            const int64_t *third)
{
    nmi_context *ctx = test_context();
    nmi_topology *t = test_topology(ctx);
    const int64_t sizes[] = {four, eight, twelve};
    const int32_t axes[] = {test_axis(t, "four", NEUMETA_AXIS_WIDTH, 1, 4),
                            test_axis(t, "eight", NEUMETA_AXIS_WIDTH, 1, 8),
                            test_axis(t, "twelve", NEUMETA_AXIS_WIDTH, 1, 12)};
    int32_t node = test_conv(t, "stem", test_input(t, 1, 4), axes[0]), added[3] = {0},
            sums[3] = {0};
    for (int i = 1; i < 3; i++) {
        const char *const names[][3] = {{0}, {"b", "s", "t"}, {"c", "u", "v"}};
        added[i] = test_conv(t, names[i][0], node, axes[i]);
        const int32_t shortcut =
            test_node(t, names[i][1], NEUMETA_OP_SHORTCUT, &node, 1, axes[i], NULL);
        sums[i] = node = test_join(t, names[i][2], NEUMETA_OP_ADD, added[i], shortcut);
    }
    mapped *m = map_create(t, node, sizes);
    assert_origins(m, added[1], second, eight);
    assert_origins(m, sums[1], second, eight);
    assert_origins(m, added[2], third, twelve);
    map_free(m);
    neumeta_context_free(ctx);
}

START_TEST(shortcuts_keep_their_channels_tied)
{
    const int64_t all[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    check_shortcuts(4, 8, 12, all, all);
    /* 0 and 1 of the stem are 2 and 3 of eight, 4 and 5 of twelve. */
    check_shortcuts(2, 4, 6, (const int64_t[]){0, 2, 3, 1}, (const int64_t[]){0, 2, 4, 5, 3, 1});
    /* Odd numbers: one zero channel more behind than in front. */
    check_shortcuts(2, 5, 6, (const int64_t[]){0, 2, 3, 1, 6}, (const int64_t[]){2, 4, 5, 3, 8, 0});
    /* More zero channels than the full shortcut has: then those that are left. */
    check_shortcuts(1, 8, 8, (const int64_t[]){0, 1, 6, 2, 7, 3, 4, 5},
                    (const int64_t[]){2, 3, 8, 4, 9, 5, 6, 7});
    /* Fewer channels than come in: the middle ones pass. */
    check_shortcuts(4, 2, 4, (const int64_t[]){3, 4}, (const int64_t[]){0, 5, 6, 1});
}
END_TEST

/* Channels narrowed and widened again, tied in a ring: some order, each channel once. */
START_TEST(rings_of_shortcuts_end)
{
    nmi_context *ctx = test_context();
    nmi_topology *t = test_topology(ctx);
    const int32_t six = test_axis(t, "six", NEUMETA_AXIS_WIDTH, 1, 6);
    const int32_t two = test_axis(t, "two", NEUMETA_AXIS_WIDTH, 1, 2);
    const int32_t a = test_conv(t, "a", test_input(t, 1, 4), six);
    const int32_t down = test_node(t, "down", NEUMETA_OP_SHORTCUT, &a, 1, two, NULL);
    const int32_t up = test_node(t, "up", NEUMETA_OP_SHORTCUT, &down, 1, six, NULL);
    const int32_t sum = test_join(t, "sum", NEUMETA_OP_ADD, a, up);
    const int64_t sizes[] = {4, 1};
    mapped *m = map_create(t, sum, sizes);
    assert_origins(m, sum, (const int64_t[]){0, 1, 2, 3}, 4);
    nmi_channel_origins(&m->map, NMI_GAUGE_ABSOLUTE, m->narrow, down, m->origins, m->used);
    ck_assert(m->origins[0].at >= 0 && m->origins[0].at < 2);
    map_free(m);
    neumeta_context_free(ctx);
}
END_TEST

/* Longer chains than are followed: still channels of the full network, each once. */
START_TEST(endless_chains_are_cut)
{
    nmi_context *ctx = test_context();
    nmi_topology *t = test_topology(ctx);
    const int32_t axis = test_axis(t, "width", NEUMETA_AXIS_WIDTH, 1, 6);
    int32_t node = test_conv(t, "a", test_input(t, 1, 4), axis);
    for (int i = 0; i < 700; i++) {
        char name[16];
        snprintf(name, sizeof name, "s%d", i);
        node = test_node(t, name, NEUMETA_OP_SHORTCUT, &node, 1, axis, NULL);
    }
    const int64_t sizes[] = {4};
    mapped *m = map_create(t, node, sizes);
    assert_origins(m, node, (const int64_t[]){0, 1, 2, 3}, 4);
    map_free(m);
    neumeta_context_free(ctx);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("channel map");
    TCase *tests = tcase_create("channel map");
    tcase_add_test(tests, gauges_worked_by_hand);
    tcase_add_test(tests, joined_and_flattened_channels_keep_their_places);
    tcase_add_test(tests, shortcuts_keep_their_channels_tied);
    tcase_add_test(tests, rings_of_shortcuts_end);
    tcase_add_test(tests, endless_chains_are_cut);
    suite_add_tcase(suite, tests);
    return test_main(suite);
}
