/* SPDX-License-Identifier: MIT */
/* Settings and topologies as JSON: nothing is lost, and nothing doubtful is accepted. */
#include "nmi_archive.h"
#include "nmi_json_memory.h"

#include <stdio.h>

static nmi_context *context;

static void set_up(void)
{
    context = test_context();
}

static void tear_down(void)
{
    nmi_context_release(context);
}

/* A copy in which ' became ", for readable JSON; free it. */
static char *quoted(const char *text)
{
    char *copy = strdup(text);
    ck_assert_ptr_nonnull(copy);
    for (char *c = copy; *c != '\0'; c++)
        if (*c == '\'')
            *c = '"';
    return copy;
}

/* --- settings ------------------------------------------------------------------------------ */

START_TEST(settings_survive_bit_by_bit)
{
    const int64_t ints[] = {-3, 0, 1000000};
    const double reals[] = {0.1, 0.0, 1.0 / 3.0};
    nmi_options *options, *again;
    char *text, *second;
    assert_ok(context, nmi_options_create(context, &options));
    assert_ok(context, nmi_options_set_real(options, NEUMETA_KEY_LEARNING_RATE, 1e-3));
    assert_ok(context, nmi_options_set_real(options, NEUMETA_KEY_RESIDUAL_SCALE, -2.0));
    assert_ok(context, nmi_options_set_int(options, NEUMETA_KEY_SEED, 9007199254740991));
    assert_ok(context, nmi_options_set_int(options, NEUMETA_KEY_BIAS, 0));
    assert_ok(context, nmi_options_set_int(options, NEUMETA_KEY_TRAIN_EARLIER, 1));
    assert_ok(context, nmi_options_set_text(options, NEUMETA_KEY_NAME_MAP, "a=\"b\",\xc3\xa9*=x*"));
    assert_ok(context, nmi_options_set_text(options, NEUMETA_KEY_INR_FUNCTION, "elu"));
    assert_ok(context, nmi_options_set_ints(options, NEUMETA_KEY_MORPH_BLOCKS, ints, 3));
    assert_ok(context, nmi_options_set_reals(options, NEUMETA_KEY_VALIDATE_GAMMAS, reals, 3));
    assert_ok(context, nmi_options_to_json(context, options, &text));
    char *expected = quoted(
        "{'BIAS':false,'NAME_MAP':'a=\\'b\\',\xc3\xa9*=x*','RESIDUAL_SCALE':-2.0,"
        "'SEED':9007199254740991,'INR_FUNCTION':'elu','MORPH_BLOCKS':[-3,0,1000000],"
        "'LEARNING_RATE':0.001,'TRAIN_EARLIER':true,'VALIDATE_GAMMAS':[0.10000000000000001,0.0,"
        "0.33333333333333331]}");
    ck_assert_str_eq(text, expected);
    free(expected);
    assert_ok(context, nmi_options_from_json(context, text, &again));
    ck_assert(nmi_options_real(again, NEUMETA_KEY_LEARNING_RATE) == 1e-3);
    int64_t count;
    const double *found = nmi_options_reals(again, NEUMETA_KEY_VALIDATE_GAMMAS, &count);
    ck_assert_int_eq(count, 3);
    ck_assert_mem_eq(found, reals, sizeof reals);
    assert_ok(context, nmi_options_to_json(context, again, &second));
    ck_assert_str_eq(text, second);
    nmi_free(context, text);
    nmi_free(context, second);
    nmi_options_release(options);
    nmi_options_release(again);
}
END_TEST

START_TEST(no_settings_are_an_empty_object)
{
    nmi_options *options;
    char *text;
    assert_ok(context, nmi_options_to_json(context, NULL, &text));
    ck_assert_str_eq(text, "{}");
    assert_ok(context, nmi_options_from_json(context, text, &options));
    ck_assert_ptr_null(nmi_options_set_at(options, 0));
    nmi_free(context, text);
    /* A whole number serves as a real one. */
    nmi_options_release(options);
    assert_ok(context, nmi_options_from_json(context, "{\"EPOCHS\":3}", &options));
    ck_assert(nmi_options_real(options, NEUMETA_KEY_EPOCHS) == 3.0);
    nmi_options_release(options);
}
END_TEST

static const struct {
    const char *text;
    const char *message;
} bad_settings[] = {
    {"", "settings is not valid JSON"},
    {"[]", "settings is not a JSON object"},
    {"{'EPOCHS':1,'EPOCHS':1}", "setting 'EPOCHS' occurs twice"},
    {"{'EPOCH':1}", "setting 'EPOCH' is unknown"},
    {"{'epochs':1}", "setting 'epochs' is unknown"},
    {"{'EPOCHS':'1'}", "setting 'EPOCHS': value is not a number"},
    {"{'EPOCHS':-1}", "setting 'EPOCHS': "},
    {"{'EPOCHS':1e400}", "settings is not valid JSON"},
    {"{'BATCH':1.5}", "setting 'BATCH': value is not a whole number"},
    {"{'BATCH':0}", "setting 'BATCH': "},
    {"{'BIAS':1}", "setting 'BIAS': value is not true or false"},
    {"{'NAME_MAP':1}", "setting 'NAME_MAP': value is not a string"},
    {"{'INR_FUNCTION':'tanh'}", "setting 'INR_FUNCTION': "},
    {"{'MORPH_BLOCKS':1}", "setting 'MORPH_BLOCKS': value is not a list"},
    {"{'MORPH_BLOCKS':[1,2.0]}", "value is not a list of whole numbers"},
    {"{'VALIDATE_GAMMAS':{}}", "setting 'VALIDATE_GAMMAS': value is not a list"},
    {"{'VALIDATE_GAMMAS':[0.1,null]}", "value is not a list of numbers"},
    {"{'VALIDATE_GAMMAS':[7]}", "setting 'VALIDATE_GAMMAS': "},
};

START_TEST(doubtful_settings_are_refused)
{
    nmi_options *options;
    char *text = quoted(bad_settings[_i].text);
    assert_status(context, nmi_options_from_json(context, text, &options), NEUMETA_ERR_FORMAT);
    assert_message_contains(context, bad_settings[_i].message);
    ck_assert_ptr_null(options);
    free(text);
}
END_TEST

START_TEST(lists_of_settings_have_a_limit)
{
    static const char begin[] = "{\"MORPH_BLOCKS\":[0";
    for (size_t count = NMI_OPTIONS_ENTRIES; count <= NMI_OPTIONS_ENTRIES + 1; count++) {
        nmi_options *options;
        char *text = malloc(sizeof begin + 2 * count + 2), *end = text + sizeof begin - 1;
        ck_assert_ptr_nonnull(text);
        strcpy(text, begin);
        for (size_t i = 1; i < count; i++, end += 2)
            memcpy(end, ",0", 2);
        strcpy(end, "]}");
        assert_status(context, nmi_options_from_json(context, text, &options),
                      count > NMI_OPTIONS_ENTRIES ? NEUMETA_ERR_FORMAT : NEUMETA_OK);
        nmi_options_release(options);
        free(text);
    }
    assert_message_contains(context,
                            "setting 'MORPH_BLOCKS': list has 16385 entries, at most 16384");
}
END_TEST

/* --- topologies ---------------------------------------------------------------------------- */

static void assert_same_topology(const nmi_topology *a, const nmi_topology *b)
{
    ck_assert(a->sealed && b->sealed);
    ck_assert_int_eq(a->axis_count, b->axis_count);
    for (int32_t i = 0; i < a->axis_count; i++) {
        ck_assert_str_eq(a->axes[i].name, b->axes[i].name);
        ck_assert_int_eq(a->axes[i].kind, b->axes[i].kind);
        ck_assert_int_eq(a->axes[i].min, b->axes[i].min);
        ck_assert_int_eq(a->axes[i].max, b->axes[i].max);
        ck_assert_int_eq(a->axes[i].step, b->axes[i].step);
    }
    ck_assert_int_eq(a->block_count, b->block_count);
    for (int32_t i = 0; i < a->block_count; i++)
        ck_assert_str_eq(a->blocks[i], b->blocks[i]);
    ck_assert_int_eq(a->output, b->output);
    ck_assert_int_eq(a->tensor_count, b->tensor_count);
    for (int32_t i = 0; i < a->tensor_count; i++)
        ck_assert_str_eq(a->tensors[i].name, b->tensors[i].name);
    ck_assert_int_eq(a->node_count, b->node_count);
    for (int32_t i = 0; i < a->node_count; i++) {
        const nmi_node *x = &a->nodes[i], *y = &b->nodes[i];
        ck_assert_str_eq(x->name, y->name);
        ck_assert(x->op == y->op && x->axis == y->axis && x->multiple == y->multiple &&
                  x->kernel == y->kernel && x->stride == y->stride && x->padding == y->padding &&
                  x->bias == y->bias && x->function == y->function && x->block == y->block);
        ck_assert(x->epsilon == y->epsilon && x->momentum == y->momentum && x->value == y->value &&
                  x->group == y->group);
        ck_assert(x->channels == y->channels && x->height == y->height && x->width == y->width &&
                  x->depth_axis == y->depth_axis && x->depth_number == y->depth_number);
        ck_assert_int_eq(x->input_count, y->input_count);
        for (int32_t k = 0; k < x->input_count; k++)
            ck_assert_int_eq(x->inputs[k], y->inputs[k]);
    }
}

static void assert_survives(const nmi_topology *topology)
{
    nmi_topology *again;
    char *text, *second;
    assert_ok(context, nmi_topology_to_json(topology, &text));
    assert_ok(context, nmi_topology_from_json(context, text, &again));
    assert_same_topology(topology, again);
    assert_ok(context, nmi_topology_to_json(again, &second));
    ck_assert_str_eq(text, second);
    nmi_free(context, text);
    nmi_free(context, second);
    nmi_topology_release(again);
}

START_TEST(every_builtin_topology_survives)
{
    for (int32_t i = 0; nmi_topology_builtin_name(i) != NULL; i++) {
        nmi_topology *topology;
        const char *name = nmi_topology_builtin_name(i);
        assert_ok(context, nmi_topology_create_builtin(context, name, NULL, &topology));
        assert_survives(topology);
        nmi_topology_release(topology);
    }
}
END_TEST

static nmi_options *number(int32_t key, int64_t value)
{
    nmi_options *options;
    assert_ok(context, nmi_options_create(context, &options));
    assert_ok(context, nmi_options_set_int(options, key, value));
    return options;
}

static int32_t add(nmi_topology *topology, const char *name, int32_t op, int32_t input,
                   int32_t axis, nmi_options *options)
{
    int32_t node;
    assert_ok(context, nmi_topology_add_node(topology, name, op, &input, op != NEUMETA_OP_INPUT,
                                             axis, options, &node));
    nmi_options_release(options);
    return node;
}

START_TEST(a_repeat_with_settings_of_every_type_survives)
{
    nmi_topology *topology;
    int32_t width, depth, classes, inner, repeat;
    assert_ok(context, nmi_topology_create(context, &topology));
    assert_ok(context, nmi_topology_add_axis(topology, "w", NEUMETA_AXIS_WIDTH, 4, 16, 4, &width));
    assert_ok(context, nmi_topology_add_axis(topology, "d", NEUMETA_AXIS_DEPTH, 1, 3, 1, &depth));
    assert_ok(context,
              nmi_topology_add_axis(topology, "classes", NEUMETA_AXIS_WIDTH, 5, 5, 1, &classes));
    int32_t x = add(topology, "x", NEUMETA_OP_INPUT, 0, -1, number(NEUMETA_KEY_INPUT_HEIGHT, 17));
    assert_ok(context, nmi_topology_begin_block(topology, "stem"));
    x = add(topology, "conv", NEUMETA_OP_CONV, x, width, number(NEUMETA_KEY_BIAS, 0));
    nmi_options *options;
    assert_ok(context, nmi_options_create(context, &options));
    assert_ok(context, nmi_options_set_real(options, NEUMETA_KEY_EPSILON, 1.0 / 3.0));
    x = add(topology, "norm", NEUMETA_OP_NORM, x, -1, options);
    x = add(topology, "groups", NEUMETA_OP_GROUP_NORM, x, -1,
            number(NEUMETA_KEY_GROUP_CHANNELS, 5));
    assert_ok(context, nmi_topology_begin_repeat(topology, "body", depth, 1, x));
    assert_ok(context, nmi_topology_add_axis(topology, "h", NEUMETA_AXIS_WIDTH, 2, 8, 1, &inner));
    int32_t inside = add(topology, "up", NEUMETA_OP_CONV, x, inner, number(NEUMETA_KEY_PADDING, 1));
    assert_ok(context, nmi_options_create(context, &options));
    assert_ok(context, nmi_options_set_text(options, NEUMETA_KEY_FUNCTION, "elu"));
    inside = add(topology, "act", NEUMETA_OP_ACTIVATION, inside, -1, options);
    inside = add(topology, "down", NEUMETA_OP_CONV, inside, width, number(NEUMETA_KEY_PADDING, 1));
    assert_ok(context, nmi_options_create(context, &options));
    assert_ok(context, nmi_options_set_real(options, NEUMETA_KEY_VALUE, -0.0));
    inside = add(topology, "scale", NEUMETA_OP_SCALE, inside, -1, options);
    assert_ok(context, nmi_topology_end_repeat(topology, inside, &repeat));
    x = add(topology, "pool", NEUMETA_OP_POOL_GLOBAL, repeat, -1, NULL);
    x = add(topology, "out", NEUMETA_OP_LINEAR, x, classes, NULL);
    assert_ok(context, nmi_topology_seal(topology, x));
    assert_survives(topology);
    nmi_topology_release(topology);
}
END_TEST

static const char small_topology[] =
    "{'format':1,'axes':[{'name':'w','kind':'width','min':1,'max':8,'step':1}],'blocks':['b'],"
    "'nodes':[{'name':'x','op':'input','inputs':[],'channels':3,'height':4,'width':4},"
    "{'name':'c','op':'conv','inputs':[0],'axis':0,'kernel':3,'bias':true,'block':0},"
    "{'name':'n','op':'norm','inputs':[1],'epsilon':0.5,'block':0}],'output':2}";

/* The small topology with one part replaced. */
static neumeta_status read_changed(const char *from, const char *to)
{
    nmi_topology *topology;
    char text[1024];
    const char *place = strstr(small_topology, from);
    ck_assert_ptr_nonnull(place);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(place - small_topology), small_topology, to,
             place + strlen(from));
    char *json = quoted(text);
    neumeta_status status = nmi_topology_from_json(context, json, &topology);
    ck_assert((status == NEUMETA_OK) == (topology != NULL));
    nmi_topology_release(topology);
    free(json);
    return status;
}

static const struct {
    const char *from, *to, *message;
} bad_topologies[] = {
    {"{'format'", "['format'", "description of a topology is not valid JSON"},
    {"'format':1", "'format':0", "topology: 'format' is not a whole number from 1"},
    {"'format':1,", "", "topology: 'format' is not a whole number"},
    {"'blocks':['b'],", "", "topology: 'blocks' is missing"},
    {"'format':1", "'format':1,'more':1", "topology: 'more' is unknown"},
    {"'output':2", "'output':2,'output':2", "topology: 'output' occurs twice"},
    {"'kernel':3", "'kernel':3,'kernel':3", "topology: node 1: 'kernel' occurs twice"},
    {"'output':2", "'output':3", "topology: "},
    {"'output':2", "'output':-1", "topology: 'output' is not a whole number from 0"},
    {"'output':2", "'output':4294967298", "topology: 'output' is not"},
    {"'output':2", "'output':2.0", "topology: 'output' is not"},
    {"'axes':[", "'axes':[7,", "topology: axis 0: is not an object"},
    {"'axes':[{'name':'w','kind':'width','min':1,'max':8,'step':1}]", "'axes':{}",
     "topology: 'axes' is not a list"},
    {"'kind':'width'", "'kind':'length'", "axis 0: kind 'length' is unknown"},
    {"'kind':'width'", "'kind':1", "axis 0: 'kind' is not a string"},
    {"'min':1", "'min':0", "topology: axis 0: "},
    {"'max':8", "'max':8.5", "axis 0: 'max' is not a whole number"},
    {"'step':1", "'step':1,'unit':1", "axis 0: 'unit' is unknown"},
    {"'step':1", "'step':0", "topology: axis 0: "},
    {"'blocks':['b']", "'blocks':[1]", "topology: block 0: is not a string"},
    {"'blocks':['b']", "'blocks':['b','b']", "topology: block 1: "},
    {"'blocks':['b']", "'blocks':['']", "topology: block 0: "},
    {"'blocks':['b']", "'blocks':[]", "topology: node 1: "},
    {"'name':'c',", "", "node 1: 'name' is missing"},
    {"'name':'c'", "'name':'x'", "topology: node 1: "},
    {"'name':'c'", "'name':3", "node 1: 'name' is not a string"},
    {"'name':'c'", "'name':'\\n'", "topology: node 1: "},
    {"'op':'conv'", "'op':1", "node 1: 'op' is not a string"},
    {"'op':'conv'", "'op':'convolution'", "node 1: op 'convolution' is unknown"},
    {"'op':'conv'", "'op':'unknown'", "node 1: op 'unknown' is unknown"},
    {"'inputs':[0]", "'inputs':[1]", "topology: node 1: "},
    {"'inputs':[0]", "'inputs':[-1]", "node 1: 'inputs' is not a whole number from 0"},
    {"'inputs':[0]", "'inputs':[0.0]", "node 1: 'inputs' is not"},
    {"'inputs':[0]", "'inputs':0", "node 1: 'inputs' is not a list"},
    {"'inputs':[0]", "'inputs':[0,0]", "topology: node 1: "},
    {"'axis':0", "'axis':1", "topology: node 1: "},
    {"'axis':0", "'axis':2147483648", "node 1: 'axis' is not a whole number"},
    {"'axis':0,", "", "topology: node 1: "},
    {"'kernel':3", "'kernel':99", "topology: node 1: "},
    {"'kernel':3", "'kernal':3", "node 1: 'kernal' is unknown"},
    {"'bias':true", "'bias':1", "node 1: 'bias' is not true or false"},
    {"'epsilon':0.5", "'epsilon':'0'", "node 2: 'epsilon' is not a number"},
    {"'epsilon':0.5", "'epsilon':-1", "topology: node 2: "},
    {"'op':'norm'", "'op':'group-norm'", "GROUP_CHANNELS is 0, must lie in [1, 1e+06]"},
    {"'block':0", "'block':1", "topology: node 1: "},
    {"'block':0", "'block':-2", "topology: node 1: "},
    {"'block':0", "'block':0,'depth_axis':0", "topology: node 1: "},
    {"'kernel':3", "'kernel':9", "topology: "},
};

START_TEST(doubtful_topologies_are_refused)
{
    assert_ok(context, read_changed("'w'", "'w'"));
    assert_status(context, read_changed(bad_topologies[_i].from, bad_topologies[_i].to),
                  NEUMETA_ERR_FORMAT);
    assert_message_contains(context, bad_topologies[_i].message);
}
END_TEST

START_TEST(a_newer_description_is_refused_as_such)
{
    assert_status(context, read_changed("'format':1", "'format':2,'more':1"), NEUMETA_ERR_VERSION);
    assert_message_contains(context, "topology: format 2 is newer than this library");
}
END_TEST

static void read_hostile(const char *text)
{
    nmi_topology *topology;
    neumeta_status status = nmi_topology_from_json(context, text, &topology);
    ck_assert(status == NEUMETA_OK || status == NEUMETA_ERR_FORMAT ||
              status == NEUMETA_ERR_VERSION);
    nmi_topology_release(topology);
}

START_TEST(damaged_descriptions_are_survived)
{
    enum { ROUNDS = 30000 };
    uint64_t state = 3;
    char *text = quoted(small_topology);
    size_t size = strlen(text);
    char *damaged = malloc(size + 1);
    ck_assert_ptr_nonnull(damaged);
    for (size_t length = 0; length < size; length++) {
        memcpy(damaged, text, length);
        damaged[length] = '\0';
        nmi_topology *topology;
        assert_status(context, nmi_topology_from_json(context, damaged, &topology),
                      NEUMETA_ERR_FORMAT);
    }
    for (int32_t round = 0; round < ROUNDS; round++) {
        memcpy(damaged, text, size + 1);
        for (int32_t i = 0; i <= round % 4; i++) {
            state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            size_t place = (size_t)(state >> 33) % size;
            damaged[place] = i % 2 == 0 ? text[(size_t)(state >> 13 & 0xffff) % size]
                                        : (char)(' ' + (state >> 57 & 63));
        }
        read_hostile(damaged);
    }
    free(damaged);
    free(text);
}
END_TEST

/* --- in files, and without memory ---------------------------------------------------------- */

static neumeta_status store_and_load(nmi_context *owner)
{
    nmi_topology *topology = NULL, *loaded = NULL;
    nmi_options *options = NULL, *found = NULL;
    nmi_safetensors_writer *writer = NULL;
    nmi_safetensors *file = NULL;
    unsigned char *bytes = NULL;
    int64_t size;
    char *json = quoted(small_topology);
    neumeta_status status = nmi_topology_from_json(owner, json, &topology);
    if (status == NEUMETA_OK)
        status = nmi_options_create(owner, &options);
    if (status == NEUMETA_OK)
        status = nmi_options_set_ints(options, NEUMETA_KEY_MORPH_BLOCKS, (int64_t[]){1, 2}, 2);
    if (status == NEUMETA_OK)
        status = nmi_options_set_reals(options, NEUMETA_KEY_VALIDATE_GAMMAS, (double[]){0, 0.5}, 2);
    if (status == NEUMETA_OK)
        status = nmi_archive_create(owner, NMI_KIND_MANIFOLD, &writer);
    if (status == NEUMETA_OK)
        status = nmi_archive_add_topology(writer, topology);
    if (status == NEUMETA_OK)
        status = nmi_archive_add_options(writer, NMI_META_OPTIONS, options);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_to_memory(writer, &bytes, &size);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_parse(owner, "f", bytes, size, &file);
    if (status == NEUMETA_OK)
        status = nmi_archive_check(file, NMI_KIND_MANIFOLD, false);
    if (status == NEUMETA_OK)
        status = nmi_archive_topology(file, &loaded);
    if (status == NEUMETA_OK)
        status = nmi_archive_options(file, NMI_META_OPTIONS, &found);
    if (status == NEUMETA_OK)
        assert_same_topology(topology, loaded);
    nmi_topology_release(topology);
    nmi_topology_release(loaded);
    nmi_options_release(options);
    nmi_options_release(found);
    nmi_safetensors_writer_free(writer);
    nmi_safetensors_free(file);
    nmi_free(owner, bytes);
    free(json);
    return status;
}

static neumeta_status write_and_load(nmi_context *owner, void *user)
{
    (void)user;
    return store_and_load(owner);
}

static neumeta_status attempt(test_allocator *allocator, void *user)
{
    (void)user;
    nmi_context *own;
    neumeta_status status = nmi_context_create(test_allocate, test_release, allocator, &own);
    if (status < 0)
        return status;
    status = store_and_load(own);
    nmi_context_release(own);
    return status;
}

START_TEST(every_allocation_may_fail)
{
    assert_ok(context, store_and_load(context));
    ck_assert_int_gt(test_every_allocation(attempt, NULL), 20);
}
END_TEST

START_TEST(every_allocation_of_the_json_printer_may_fail)
{
    ck_assert_int_gt(test_every_json_allocation(write_and_load, context, NULL), 100);
}
END_TEST

START_TEST(damaged_metadata_names_file_and_key)
{
    nmi_safetensors_writer *writer;
    nmi_safetensors *file;
    nmi_topology *topology;
    nmi_options *options;
    unsigned char *bytes;
    int64_t size;
    assert_ok(context, nmi_archive_create(context, NMI_KIND_MANIFOLD, &writer));
    assert_ok(context, nmi_safetensors_add_text(writer, NMI_META_OPTIONS, "{\"BATCH\":0}"));
    assert_ok(context, nmi_safetensors_to_memory(writer, &bytes, &size));
    nmi_safetensors_writer_free(writer);
    assert_ok(context, nmi_safetensors_parse(context, "x.nm", bytes, size, &file));
    assert_status(context, nmi_archive_options(file, NMI_META_OPTIONS, &options),
                  NEUMETA_ERR_FORMAT);
    assert_message_contains(context, "'x.nm': metadata 'neumeta.options': setting 'BATCH': ");
    assert_status(context, nmi_archive_topology(file, &topology), NEUMETA_ERR_FORMAT);
    assert_message_contains(context, "'x.nm': metadata 'neumeta.topology' is missing");
    assert_status(context, nmi_archive_options(file, "other", &options), NEUMETA_ERR_FORMAT);
    assert_message_contains(context, "'x.nm': metadata 'other' is missing");
    nmi_safetensors_free(file);
    nmi_free(context, bytes);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("describe");
    TCase *texts = tcase_create("texts");
    tcase_add_checked_fixture(texts, set_up, tear_down);
    tcase_add_test(texts, settings_survive_bit_by_bit);
    tcase_add_test(texts, no_settings_are_an_empty_object);
    tcase_add_loop_test(texts, doubtful_settings_are_refused, 0,
                        sizeof bad_settings / sizeof *bad_settings);
    tcase_add_test(texts, lists_of_settings_have_a_limit);
    tcase_add_test(texts, every_builtin_topology_survives);
    tcase_add_test(texts, a_repeat_with_settings_of_every_type_survives);
    tcase_add_loop_test(texts, doubtful_topologies_are_refused, 0,
                        sizeof bad_topologies / sizeof *bad_topologies);
    tcase_add_test(texts, a_newer_description_is_refused_as_such);
    tcase_add_test(texts, damaged_descriptions_are_survived);
    tcase_add_test(texts, every_allocation_may_fail);
    tcase_add_test(texts, every_allocation_of_the_json_printer_may_fail);
    tcase_add_test(texts, damaged_metadata_names_file_and_key);
    suite_add_tcase(suite, texts);
    return test_main(suite);
}
