/* SPDX-License-Identifier: MIT */
/* The safetensors container and our metadata in it: every refusal, and bits. */
#include "nmi_archive.h"
#include "nmi_json_memory.h"
#include "nmi_safetensors_bytes.h"

#include <math.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

/* --- helpers ------------------------------------------------------------------------------- */

static nmi_context *context;
static char *folder;
static char *path; /* of a file in the folder */

static void set_up(void)
{
    context = test_context();
    folder = test_directory();
    path = test_path(folder, "file");
}

static void tear_down(void)
{
    free(path);
    test_directory_remove(folder);
    nmi_context_release(context);
}

static void assert_file(const char *name, const void *data, int64_t size)
{
    int64_t found;
    unsigned char *bytes = test_read_file(name, &found);
    ck_assert_ptr_nonnull(bytes);
    ck_assert_int_eq(found, size);
    ck_assert_mem_eq(bytes, data, (size_t)size);
    free(bytes);
}

/* A file of the given header, in which ' stands for ", and `data_size` bytes 0, 1, 2, ... */
static unsigned char *image(const char *header, int64_t data_size, int64_t *size)
{
    size_t length = strlen(header);
    *size = 8 + (int64_t)length + data_size;
    unsigned char *bytes = calloc((size_t)*size, 1);
    ck_assert_ptr_nonnull(bytes);
    for (size_t i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(length >> (8 * i) & 0xff);
    for (size_t i = 0; i < length; i++)
        bytes[8 + i] = (unsigned char)(header[i] == '\'' ? '"' : header[i]);
    for (int64_t i = 0; i < data_size; i++)
        bytes[8 + (int64_t)length + i] = (unsigned char)i;
    return bytes;
}

static neumeta_status parse_image(const char *header, int64_t data_size)
{
    int64_t size;
    nmi_safetensors *file;
    unsigned char *bytes = image(header, data_size, &size);
    neumeta_status status = nmi_safetensors_parse(context, "f", bytes, size, &file);
    ck_assert((status == NEUMETA_OK) == (file != NULL));
    nmi_safetensors_free(file);
    free(bytes);
    return status;
}

/* Parses a copy of its own, so that AddressSanitizer sees any read past its end. Whatever the
 * bytes, the result is success or a sentence. */
static neumeta_status parse_hostile(const unsigned char *bytes, int64_t size)
{
    nmi_safetensors *file;
    unsigned char *copy = malloc(size > 0 ? (size_t)size : 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, bytes, (size_t)size);
    neumeta_status status = nmi_safetensors_parse(context, "", copy, size, &file);
    ck_assert(status == NEUMETA_OK || status == NEUMETA_ERR_FORMAT);
    ck_assert((status == NEUMETA_OK) == (file != NULL));
    if (status < 0)
        ck_assert_str_ne(neumeta_context_message(context), "");
    for (int32_t i = 0; file != NULL && i < nmi_safetensors_count(file); i++) {
        nmi_tensor_entry entry;
        ck_assert(nmi_safetensors_at(file, i, &entry));
        ck_assert(entry.data + entry.bytes <= copy + size);
    }
    nmi_safetensors_free(file);
    free(copy);
    return status;
}

static const char small_header[] = "{'__metadata__':{'k':'v'},"
                                   "'a':{'dtype':'F32','shape':[2],'data_offsets':[0,8]},"
                                   "'b':{'dtype':'U8','shape':[],'data_offsets':[8,9]}}";

/* --- reading ------------------------------------------------------------------------------- */

START_TEST(a_file_made_by_hand_is_understood)
{
    /* The data starts at an odd address, and 'c' comes first in it. */
    static const char header[] = "{'__metadata__':{'who':'hand','x.y':'\\u00e9'},"
                                 "'a.weight':{'dtype':'F32','shape':[1,2],'data_offsets':[2,10]},"
                                 "'c':{'dtype':'I16','shape':[],'data_offsets':[0,2]},"
                                 "'none':{'shape':[3,0],'data_offsets':[10,10],'dtype':'F64'}}   ";
    int64_t size;
    unsigned char *bytes = image(header, 10, &size);
    nmi_safetensors *file;
    assert_ok(context, nmi_safetensors_parse(context, "f", bytes, size, &file));
    ck_assert_int_eq(nmi_safetensors_count(file), 3);
    nmi_tensor_entry entry, weight;
    ck_assert(!nmi_safetensors_at(file, 3, &entry));
    ck_assert(!nmi_safetensors_at(file, -1, &entry));
    ck_assert(!nmi_safetensors_find(file, "__metadata__", &entry));
    ck_assert(nmi_safetensors_find(file, "a.weight", &weight));
    ck_assert_int_eq(weight.dtype, NMI_DTYPE_F32);
    ck_assert_int_eq(weight.rank, 2);
    ck_assert_int_eq(weight.dims[1], 2);
    ck_assert_int_eq(weight.bytes, 8);
    ck_assert(nmi_safetensors_find(file, "none", &entry));
    ck_assert_int_eq(entry.elements, 0);
    nmi_tensor_copy(&entry, NULL);
    ck_assert(nmi_safetensors_at(file, 0, &entry));
    ck_assert_str_eq(entry.name, "c");
    ck_assert_int_eq(entry.elements, 1);
    int16_t number;
    nmi_tensor_copy(&entry, &number);
    ck_assert_int_eq(number, 0x0100);
    uint32_t words[2];
    nmi_tensor_copy(&weight, words);
    ck_assert_uint_eq(words[0], 0x05040302u);
    ck_assert_uint_eq(words[1], 0x09080706u);
    ck_assert_str_eq(nmi_safetensors_text(file, "who"), "hand");
    ck_assert_str_eq(nmi_safetensors_text(file, "x.y"), "\xc3\xa9");
    ck_assert_ptr_null(nmi_safetensors_text(file, "absent"));
    nmi_safetensors_free(file);
    free(bytes);
    assert_ok(context, parse_image("{}", 0));
}
END_TEST

#define ENTRY(dtype, shape, offsets)                                                               \
    "{'t':{'dtype':" dtype ",'shape':" shape ",'data_offsets':" offsets "}}"
#define ENTRIES(first, second)                                                                     \
    "{" first ":{'dtype':'U8','shape':[0],'data_offsets':[0,0]}," second                           \
    ":{'dtype':'U8','shape':[0],'data_offsets':[0,0]}}"
static const struct {
    const char *header;
    int64_t data_size;
    const char *message;
} refusals[] = {
    {"", 0, "'f': not a safetensors file: the header does not begin with '{'"},
    {" {}", 0, "the header does not begin with '{'"},
    {"{}", 3, "'f': the last 3 bytes belong to no tensor"},
    {"{'a'", 0, "'f': header is not valid JSON at byte 4: "},
    {"{}{}", 0, "header is not valid JSON"},
    {ENTRIES("'a'", "'\\u0061'"), 0, "'f': tensor 'a' occurs twice"},
    {"{'__metadata__':{},'__metadata__':{}}", 0, "'f': __metadata__ occurs twice"},
    {"{'__metadata__':{'k':'','l':'','k':''}}", 0, "'f': 'k' occurs twice in __metadata__"},
    {"{'\xff':1}", 0, "header is not valid JSON"},
    {"{'a\\u0000':1}", 0, "header is not valid JSON"},
    {"{'__metadata__':7}", 0, "__metadata__ is not an object"},
    {"{'__metadata__':{'k':7}}", 0, "value of 'k' in __metadata__ is not a string"},
    {"{'':{}}", 0, "tensor name '' is empty"},
    {"{'a\\n':{}}", 0, "not printable"},
    {"{'t':7}", 0, "'f': tensor 't': must be an object of exactly dtype, shape and data_offsets"},
    {"{'t':{'dtype':'F32','shape':[0],'data_offsets':[0,0],'more':1}}", 0, "tensor 't': must be"},
    {"{'t':{'dtype':'F32','shape':[0],'offsets':[0,0]}}", 0, "tensor 't': data_offsets is missing"},
    {"{'t':{'type':'F32','shape':[0],'data_offsets':[0,0]}}", 0, "tensor 't': dtype is missing"},
    {"{'t':{'dtype':'F32','size':[0],'data_offsets':[0,0]}}", 0, "tensor 't': shape is missing"},
    {ENTRY("4", "[0]", "[0,0]"), 0, "tensor 't': dtype is missing or not a string"},
    {ENTRY("'F31'", "[0]", "[0,0]"), 0, "tensor 't': dtype 'F31' is unknown"},
    {ENTRY("'U8'", "4", "[0,4]"), 4, "tensor 't': shape is missing or not a list"},
    {ENTRY("'U8'", "[1,1,1,1,1,1,1,1,1]", "[0,1]"), 1, "shape has 9 dimensions, at most 8"},
    {ENTRY("'U8'", "[1,-1]", "[0,1]"), 1, "dimension 1 of the shape is not a non-negative"},
    {ENTRY("'U8'", "[1.0]", "[0,1]"), 1, "dimension 0 of the shape is not a non-negative"},
    {ENTRY("'U8'", "['1']", "[0,1]"), 1, "dimension 0 of the shape is not a non-negative"},
    {ENTRY("'U8'", "[4294967296,4294967296]", "[0,0]"), 0, "too many elements to count"},
    {ENTRY("'F32'", "[4611686018427387904]", "[0,0]"), 0, "too many bytes to count"},
    {ENTRY("'U8'", "[99999999999999999999]", "[0,0]"), 0, "header is not valid JSON"},
    {ENTRY("'U8'", "[1]", "7"), 1, "data_offsets is missing or not a pair of whole numbers"},
    {ENTRY("'U8'", "[1]", "[0]"), 1, "not a pair of whole numbers"},
    {ENTRY("'U8'", "[1]", "[0,1,2]"), 1, "not a pair of whole numbers"},
    {ENTRY("'U8'", "[1]", "[0,1.0]"), 1, "not a pair of whole numbers"},
    {ENTRY("'U8'", "[1]", "[-1,0]"), 1, "data_offsets are [-1, 0], must rise within the 1 bytes"},
    {ENTRY("'U8'", "[1]", "[1,0]"), 1, "data_offsets are [1, 0], must rise"},
    {ENTRY("'U8'", "[2]", "[0,2]"), 1, "data_offsets are [0, 2], must rise within the 1 bytes"},
    {ENTRY("'U8'", "[1]", "[0,9223372036854775807]"), 1, "must rise within the 1 bytes"},
    {ENTRY("'F32'", "[1]", "[0,3]"), 4, "data_offsets span 3 bytes, but dtype and shape make 4"},
    {ENTRY("'U8'", "[1]", "[1,2]"), 2, "tensor 't': 1 bytes before its data belong to no tensor"},
    {"{'t':{'dtype':'U8','shape':[2],'data_offsets':[0,2]},"
     "'u':{'dtype':'U8','shape':[2],'data_offsets':[1,3]}}",
     3, "tensor 'u': data overlaps that of tensor 't'"},
    {"{'t':{'dtype':'U8','shape':[2],'data_offsets':[0,2]},"
     "'u':{'dtype':'U8','shape':[2],'data_offsets':[0,2]}}",
     2, "data overlaps"},
    {"{'t':{'dtype':'U8','shape':[2],'data_offsets':[0,2]},"
     "'u':{'dtype':'U8','shape':[0],'data_offsets':[1,1]}}",
     2, "tensor 'u': data overlaps"},
};

START_TEST(each_damage_is_named)
{
    assert_status(context, parse_image(refusals[_i].header, refusals[_i].data_size),
                  NEUMETA_ERR_FORMAT);
    assert_message_contains(context, refusals[_i].message);
}
END_TEST

START_TEST(a_header_longer_than_its_file_or_its_limit_is_refused)
{
    unsigned char bytes[10] = {3, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    nmi_safetensors *file;
    assert_status(context, nmi_safetensors_parse(context, "", bytes, 10, &file),
                  NEUMETA_ERR_FORMAT);
    assert_message_contains(context, "cut short: header of 3 bytes, but only 2 follow");
    assert_status(context, nmi_safetensors_parse(context, "", bytes, 7, &file), NEUMETA_ERR_FORMAT);
    assert_message_contains(context, "7 bytes are too few");
    assert_status(context, nmi_safetensors_parse(context, "", NULL, 0, &file), NEUMETA_ERR_FORMAT);
    bytes[2] = 0x80;
    assert_status(context, nmi_safetensors_parse(context, "", bytes, 10, &file),
                  NEUMETA_ERR_FORMAT);
    assert_message_contains(context, "header of 8388611 bytes, at most 8388608 can be");
    memset(bytes, 0xff, 8);
    assert_status(context, nmi_safetensors_parse(context, "", bytes, 10, &file),
                  NEUMETA_ERR_FORMAT);
    assert_message_contains(context, "not a safetensors file");
}
END_TEST

START_TEST(a_name_beyond_the_limit_is_refused)
{
    char header[1024];
    char name[NMI_SAFETENSORS_NAME + 2];
    memset(name, 'n', sizeof name);
    for (size_t length = NMI_SAFETENSORS_NAME; length <= NMI_SAFETENSORS_NAME + 1; length++) {
        name[length] = '\0';
        snprintf(header, sizeof header, "{'%s':{'dtype':'U8','shape':[1],'data_offsets':[0,1]}}",
                 name);
        ck_assert_int_eq(parse_image(header, 1),
                         length > NMI_SAFETENSORS_NAME ? NEUMETA_ERR_FORMAT : NEUMETA_OK);
        name[length] = 'n';
    }
    assert_message_contains(context, "longer than 384 bytes");
}
END_TEST

START_TEST(every_truncation_is_refused)
{
    int64_t size;
    unsigned char *bytes = image(small_header, 9, &size);
    for (int64_t length = 0; length < size; length++)
        assert_status(context, parse_hostile(bytes, length), NEUMETA_ERR_FORMAT);
    assert_ok(context, parse_hostile(bytes, size));
    free(bytes);
}
END_TEST

START_TEST(every_changed_byte_of_a_header_is_survived)
{
    int64_t size;
    unsigned char *bytes = image(small_header, 9, &size);
    for (int64_t place = 0; place < size - 9; place++)
        for (unsigned change = 1; change < 256; change++) {
            bytes[place] ^= (unsigned char)change;
            parse_hostile(bytes, size);
            bytes[place] ^= (unsigned char)change;
        }
    assert_ok(context, parse_hostile(bytes, size));
    free(bytes);
}
END_TEST

START_TEST(random_damage_is_survived)
{
    enum { ROUNDS = 60000 };
    uint64_t state = 7;
    int64_t size;
    unsigned char *bytes = image(small_header, 9, &size);
    unsigned char damaged[512];
    for (int32_t round = 0; round < ROUNDS; round++) {
        memcpy(damaged, bytes, (size_t)size);
        int64_t changes = 1 + round % 6, length = size;
        for (int64_t i = 0; i < changes; i++) {
            state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            int64_t place = (int64_t)(state >> 33) % size;
            int64_t other = (int64_t)(state >> 20 & 0xfff) % size;
            /* Mostly bytes that mean something in a header. */
            if (i % 3 == 0)
                damaged[place] = (unsigned char)(state >> 56);
            else
                damaged[place] = damaged[other];
            if (state >> 60 == 0)
                length = place;
        }
        parse_hostile(damaged, length);
    }
    free(bytes);
}
END_TEST

START_TEST(many_tensors_in_any_order_are_sorted)
{
    enum { COUNT = 3000 };
    char *header = malloc(COUNT * 80 + 2);
    ck_assert_ptr_nonnull(header);
    size_t used = 0;
    for (int i = 0; i < COUNT; i++) {
        int place = i * 1009 % COUNT;
        used += (size_t)sprintf(header + used,
                                "%c'n%d':{'dtype':'U8','shape':[2],'data_offsets':[%d,%d]}",
                                i == 0 ? '{' : ',', place, 2 * place, 2 * place + 2);
    }
    strcpy(header + used, "}");
    int64_t size;
    unsigned char *bytes = image(header, 2 * COUNT, &size);
    nmi_safetensors *file;
    assert_ok(context, nmi_safetensors_parse(context, "", bytes, size, &file));
    ck_assert_int_eq(nmi_safetensors_count(file), COUNT);
    for (int32_t i = 0; i < COUNT; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", (int)i);
        nmi_tensor_entry entry;
        ck_assert(nmi_safetensors_at(file, i, &entry));
        ck_assert_str_eq(entry.name, name);
    }
    nmi_safetensors_free(file);
    free(bytes);
    free(header);
}
END_TEST

/* By searching one after the other it would be ten seconds. */
START_TEST(many_tensors_are_found_in_little_time)
{
    enum { COUNT = 60000 };
    char *header = malloc(COUNT * 64 + 2);
    ck_assert_ptr_nonnull(header);
    size_t used = 0;
    for (int i = 0; i < COUNT; i++)
        used += (size_t)sprintf(header + used,
                                "%c'name%05d':{'dtype':'U8','shape':[0],'data_offsets':[0,0]}",
                                i == 0 ? '{' : ',', i);
    strcpy(header + used, "}");
    int64_t size;
    unsigned char *bytes = image(header, 0, &size);
    nmi_safetensors *file;
    assert_ok(context, nmi_safetensors_parse(context, "", bytes, size, &file));
    const clock_t start = clock();
    for (int32_t i = 0; i < COUNT; i++) {
        char name[16];
        snprintf(name, sizeof name, "name%05d", (int)i);
        ck_assert_int_eq(nmi_safetensors_index(file, name), i);
    }
    ck_assert_int_eq(nmi_safetensors_index(file, "name"), -1);
    ck_assert_int_eq(nmi_safetensors_index(file, "z"), -1);
    ck_assert_int_lt((int64_t)(clock() - start), (int64_t)4 * CLOCKS_PER_SEC);
    nmi_safetensors_free(file);
    free(bytes);
    free(header);
}
END_TEST

START_TEST(a_tensor_of_another_type_or_shape_is_named)
{
    const int64_t dims[] = {2, 3};
    float values[6];
    int64_t size;
    unsigned char *bytes = image(small_header, 9, &size);
    nmi_safetensors *file;
    assert_ok(context, nmi_safetensors_parse(context, "dir/f", bytes, size, &file));
    assert_ok(context, nmi_safetensors_read(file, "a", NMI_DTYPE_F32, 1, dims, values));
    assert_ok(context, nmi_safetensors_read(file, "b", NMI_DTYPE_U8, 0, NULL, values));
    assert_status(context, nmi_safetensors_read(file, "a", NMI_DTYPE_F32, 2, dims, values),
                  NEUMETA_ERR_FORMAT);
    assert_message_contains(context, "'dir/f': tensor 'a': is F32 [2], must be F32 [2, 3]");
    assert_status(context, nmi_safetensors_read(file, "b", NMI_DTYPE_I64, 0, NULL, values),
                  NEUMETA_ERR_FORMAT);
    assert_message_contains(context, "tensor 'b': is U8 [], must be I64 []");
    assert_status(context, nmi_safetensors_read(file, "z", NMI_DTYPE_F32, 1, dims, values),
                  NEUMETA_ERR_FORMAT);
    assert_message_contains(context, "'dir/f': tensor 'z': is missing");
    nmi_safetensors_free(file);
    free(bytes);
}
END_TEST

START_TEST(types_beyond_the_table_have_neither_name_nor_size)
{
    ck_assert_str_eq(nmi_dtype_name(NMI_DTYPE_F32), "F32");
    ck_assert_str_eq(nmi_dtype_name(NMI_DTYPE_BF16), "BF16");
    ck_assert_int_eq(nmi_dtype_size(NMI_DTYPE_F64), 8);
    ck_assert_ptr_null(nmi_dtype_name(0));
    ck_assert_ptr_null(nmi_dtype_name(NMI_DTYPE_BF16 + 1));
    ck_assert_int_eq(nmi_dtype_size(0), 0);
    ck_assert_int_eq(nmi_dtype_size(NMI_DTYPE_BF16 + 1), 0);
}
END_TEST

START_TEST(bytes_are_swapped_within_each_element)
{
    const unsigned char in[] = {1, 2, 3, 4, 5, 6, 7, 8};
    unsigned char out[8];
    nmi_copy_swapped(out, in, 2, 4);
    ck_assert_mem_eq(out, ((unsigned char[]){4, 3, 2, 1, 8, 7, 6, 5}), 8);
    nmi_copy_swapped(out, in, 1, 8);
    ck_assert_mem_eq(out, ((unsigned char[]){8, 7, 6, 5, 4, 3, 2, 1}), 8);
    nmi_copy_swapped(out, in, 8, 1);
    ck_assert_mem_eq(out, in, 8);
}
END_TEST

START_TEST(foreign_files_are_read)
{
    static const struct {
        const char *path;
        int32_t tensors;
    } files[] = {{"pretrained/lenet_mnist.safetensors", 8},
                 {"pretrained/resnet20_cifar10.safetensors", 97},
                 {"pretrained/resnet32_cifar10.safetensors", 157},
                 {"pretrained/resnet56_cifar10.safetensors", 277},
                 {"pretrained/resnet20b_cifar10.safetensors", 112},
                 {"pretrained/resnet20b_cifar100.safetensors", 112},
                 {"pretrained/oracle_lenet_mnist.safetensors", 5},
                 {"pretrained/oracle_resnet20b_cifar100.safetensors", 9},
                 {"pretrained/oracle_grad_resnet20_cifar10.safetensors", -1}};
    char *shared = test_shared_path(files[_i].path);
    if (shared == NULL)
        return;
    nmi_safetensors *file;
    assert_ok(context, nmi_safetensors_open(context, shared, &file));
    if (files[_i].tensors >= 0)
        ck_assert_int_eq(nmi_safetensors_count(file), files[_i].tensors);
    assert_ok(context, nmi_archive_check(file, NMI_KIND_NETWORK, true));
    nmi_safetensors_free(file);
    free(shared);
}
END_TEST

/* --- writing ------------------------------------------------------------------------------- */

static const float floats[6] = {1.0F, -0.0F, 3.5e-42F, 4.0F, -5.25F, 1e30F};
static const int64_t integers[2] = {INT64_MIN, 42};
static const unsigned char small_bytes[3] = {7, 8, 9};

static neumeta_status fill(nmi_safetensors_writer *writer)
{
    const int64_t dims[] = {2, 3};
    neumeta_status status = nmi_safetensors_add_text(writer, "note", "caf\xc3\xa9 \"q\"\n");
    if (status == NEUMETA_OK)
        status = nmi_safetensors_add(writer, "bytes", NMI_DTYPE_U8, 1, &dims[1], small_bytes);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_add(writer, "w", NMI_DTYPE_F32, 2, dims, floats);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_add(writer, "position", NMI_DTYPE_I64, 1, dims, integers);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_add(writer, "one", NMI_DTYPE_F32, 0, NULL, floats);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_add(writer, "none", NMI_DTYPE_F16, 1, (int64_t[]){0}, NULL);
    return status;
}

START_TEST(what_was_written_is_read_bit_by_bit)
{
    const int64_t dims[] = {2, 3};
    nmi_safetensors_writer *writer;
    nmi_safetensors *file;
    unsigned char *bytes;
    int64_t size;
    assert_ok(context, nmi_safetensors_writer_create(context, &writer));
    assert_ok(context, fill(writer));
    assert_ok(context, nmi_safetensors_save(writer, path));
    assert_ok(context, nmi_safetensors_to_memory(writer, &bytes, &size));
    assert_file(path, bytes, size);
    nmi_free(context, bytes);
    nmi_safetensors_writer_free(writer);

    assert_ok(context, nmi_safetensors_open(context, path, &file));
    ck_assert_int_eq(nmi_safetensors_count(file), 5);
    ck_assert_str_eq(nmi_safetensors_text(file, "note"), "caf\xc3\xa9 \"q\"\n");
    float w[6];
    int64_t position[2];
    unsigned char u8[3];
    assert_ok(context, nmi_safetensors_read(file, "w", NMI_DTYPE_F32, 2, dims, w));
    ck_assert_mem_eq(w, floats, sizeof w);
    assert_ok(context, nmi_safetensors_read(file, "position", NMI_DTYPE_I64, 1, dims, position));
    ck_assert_mem_eq(position, integers, sizeof position);
    assert_ok(context, nmi_safetensors_read(file, "bytes", NMI_DTYPE_U8, 1, &dims[1], u8));
    ck_assert_mem_eq(u8, small_bytes, sizeof u8);
    for (int32_t i = 0; i < 5; i++) {
        nmi_tensor_entry entry, first;
        ck_assert(nmi_safetensors_at(file, i, &entry) && nmi_safetensors_at(file, 0, &first));
        ck_assert_int_eq((entry.data - first.data) % nmi_dtype_size(entry.dtype), 0);
    }
    nmi_safetensors_free(file);
}
END_TEST

START_TEST(the_bytes_of_a_file_are_these)
{
    static const char text[] =
        "{'__metadata__':{'k':'v'},'t':{'dtype':'U8','shape':[3],'data_offsets':[0,3]}}";
    unsigned char expected[8 + 120 + 3] = {120};
    memset(expected + 8, ' ', 120);
    for (size_t i = 0; i < sizeof text - 1; i++)
        expected[8 + i] = (unsigned char)(text[i] == '\'' ? '"' : text[i]);
    memcpy(expected + 128, small_bytes, 3);
    nmi_safetensors_writer *writer;
    unsigned char *bytes;
    int64_t size;
    assert_ok(context, nmi_safetensors_writer_create(context, &writer));
    assert_ok(context, nmi_safetensors_add_text(writer, "k", "v"));
    assert_ok(context,
              nmi_safetensors_add(writer, "t", NMI_DTYPE_U8, 1, (int64_t[]){3}, small_bytes));
    for (int again = 0; again < 2; again++) {
        assert_ok(context, nmi_safetensors_to_memory(writer, &bytes, &size));
        ck_assert_int_eq(size, sizeof expected);
        ck_assert_mem_eq(bytes, expected, sizeof expected);
        nmi_free(context, bytes);
    }
    nmi_safetensors_writer_free(writer);
}
END_TEST

START_TEST(what_cannot_be_stored_is_refused)
{
    static char long_name[NMI_SAFETENSORS_NAME + 2];
    const int64_t dims[] = {1, -1, INT64_MAX, 2};
    nmi_safetensors_writer *writer;
    memset(long_name, 'n', sizeof long_name - 1);
    assert_ok(context, nmi_safetensors_writer_create(context, &writer));
    const char *const names[] = {"", "a\n", long_name, "__metadata__", "\xc3("};
    for (size_t i = 0; i < 5; i++) {
        assert_status(context,
                      nmi_safetensors_add(writer, names[i], NMI_DTYPE_U8, 1, dims, small_bytes),
                      NEUMETA_ERR_ARGUMENT);
        assert_status(context, nmi_safetensors_add_text(writer, names[i], "v"),
                      NEUMETA_ERR_ARGUMENT);
    }
    assert_message_contains(context, "is not valid UTF-8");
    assert_status(context, nmi_safetensors_add_text(writer, "k", "\xff"), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "metadata 'k': value is not valid UTF-8");
    assert_ok(context, nmi_safetensors_add_text(writer, "k", "v"));
    assert_status(context, nmi_safetensors_add_text(writer, "k", "v"), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "metadata key 'k' is used twice");
    assert_status(context, nmi_safetensors_add(writer, "t", 99, 1, dims, small_bytes),
                  NEUMETA_ERR_ARGUMENT);
    assert_status(context, nmi_safetensors_add(writer, "t", NMI_DTYPE_U8, 9, dims, small_bytes),
                  NEUMETA_ERR_ARGUMENT);
    assert_status(context, nmi_safetensors_add(writer, "t", NMI_DTYPE_U8, 1, &dims[1], small_bytes),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "tensor 't': dimension 0 is -1");
    assert_status(context, nmi_safetensors_add(writer, "t", NMI_DTYPE_U8, 2, &dims[2], small_bytes),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "tensor 't': dimension 1 is 2: negative or too large");
    assert_status(context, nmi_safetensors_add(writer, "t", NMI_DTYPE_U8, -1, dims, small_bytes),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "tensor 't': type 5 or rank -1 cannot be written");
    assert_status(context,
                  nmi_safetensors_add(writer, "t", NMI_DTYPE_F64, 1, &dims[2], small_bytes),
                  NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "tensor 't': it has too many bytes to count");
    assert_ok(context, nmi_safetensors_add(writer, "t", NMI_DTYPE_U8, 1, dims, small_bytes));
    assert_ok(context, nmi_safetensors_add(writer, "t", NMI_DTYPE_U8, 1, dims, small_bytes));
    assert_status(context, nmi_safetensors_save(writer, path), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "tensor 't': the name is used twice");
    ck_assert_int_ne(access(path, F_OK), 0);
    nmi_safetensors_writer_free(writer);
    nmi_safetensors_writer_free(NULL);
    nmi_safetensors_free(NULL);
}
END_TEST

/* Nothing reads the data before the header is made. */
START_TEST(what_makes_a_file_too_large_is_refused)
{
    static const int64_t rests[] = {1, INT64_MAX};
    const int64_t first = INT64_MAX - NMI_SAFETENSORS_HEADER - 8;
    for (int i = 0; i < 2; i++) {
        nmi_safetensors_writer *writer;
        unsigned char *bytes;
        int64_t size;
        assert_ok(context, nmi_safetensors_writer_create(context, &writer));
        assert_ok(context, nmi_safetensors_add(writer, "a", NMI_DTYPE_U8, 1, &first, small_bytes));
        assert_ok(context,
                  nmi_safetensors_add(writer, "b", NMI_DTYPE_U8, 1, &rests[i], small_bytes));
        assert_status(context, nmi_safetensors_to_memory(writer, &bytes, &size),
                      NEUMETA_ERR_ARGUMENT);
        assert_message_contains(context, "tensor 'b': the file becomes too large");
        ck_assert_ptr_null(bytes);
        nmi_safetensors_writer_free(writer);
    }
}
END_TEST

START_TEST(a_header_beyond_the_limit_is_not_written)
{
    static char text[NMI_SAFETENSORS_HEADER + 1];
    char old[64] = {56, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    nmi_safetensors_writer *writer;
    memset(old + 10, ' ', sizeof old - 10);
    memset(text, 'x', NMI_SAFETENSORS_HEADER);
    assert_ok(context, nmi_safetensors_writer_create(context, &writer));
    assert_ok(context, nmi_safetensors_save(writer, path));
    assert_ok(context, nmi_safetensors_add_text(writer, "k", text));
    assert_status(context, nmi_safetensors_save(writer, path), NEUMETA_ERR_ARGUMENT);
    assert_message_contains(context, "header has 8388664 bytes, at most 8388608 can be written");
    nmi_safetensors_writer_free(writer);
    assert_file(path, old, sizeof old);
}
END_TEST

static neumeta_status refuse(void *user, const void *data, size_t size)
{
    (void)data, (void)size;
    int *calls = user;
    return ++*calls >= 2 ? nmi_fail(context, NEUMETA_ERR_CALLBACK, "enough") : NEUMETA_OK;
}

/* --- eight bits ------------------------------------------------------------------------------ */

enum { ROWS = 5, COLUMNS = 6 };
static const int64_t scaled_dims[] = {ROWS, 2, 3};

/* Rows of all sizes, one of them zero. */
static void fill_rows(float *values)
{
    static const float sizes[ROWS] = {1, 3e-39F, 0, 1e38F, 7e-5F};
    for (int64_t i = 0; i < (int64_t)ROWS * COLUMNS; i++)
        values[i] = sizes[i / COLUMNS] * (float)(i % COLUMNS - 2) / COLUMNS;
}

static neumeta_status scaled_image(const float *values, unsigned char **bytes, int64_t *size)
{
    static const float vector[ROWS] = {1, 2, 3, 4, 5};
    nmi_safetensors_writer *writer;
    assert_ok(context, nmi_safetensors_writer_create(context, &writer));
    neumeta_status status =
        nmi_safetensors_add_floats(writer, "m", NMI_DTYPE_I8, 3, scaled_dims, values);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_add_floats(writer, "v", NMI_DTYPE_I8, 1, scaled_dims, vector);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_to_memory(writer, bytes, size);
    nmi_safetensors_writer_free(writer);
    return status;
}

START_TEST(rows_of_eight_bits_are_rounded_once)
{
    float values[ROWS * COLUMNS], found[ROWS * COLUMNS];
    unsigned char *bytes, *again;
    int64_t size, again_size;
    nmi_safetensors *file;
    nmi_tensor_entry entry;
    bool marks[3] = {false};
    fill_rows(values);
    assert_ok(context, scaled_image(values, &bytes, &size));
    assert_ok(context, nmi_safetensors_parse(context, "f", bytes, size, &file));
    ck_assert_int_eq(nmi_safetensors_count(file), 3);
    ck_assert(nmi_safetensors_find(file, "m/scale", &entry) && entry.dtype == NMI_DTYPE_F32);
    ck_assert(nmi_safetensors_find(file, "v", &entry) && entry.dtype == NMI_DTYPE_F16);
    nmi_safetensors_mark(file, "m", marks);
    ck_assert_int_eq(marks[0] + marks[1] + marks[2], 2);
    assert_ok(context, nmi_safetensors_expect_floats(file, "m", 3, scaled_dims));
    assert_ok(context, nmi_safetensors_read_floats(file, "m", 3, scaled_dims, found));
    for (int64_t i = 0; i < (int64_t)ROWS * COLUMNS; i++) {
        const float largest = fabsf(values[i / COLUMNS * COLUMNS + COLUMNS - 1]);
        ck_assert_float_le(fabsf(found[i] - values[i]), 0.501F * largest / 127 + 6e-42F);
    }
    nmi_safetensors_free(file);
    assert_ok(context, scaled_image(found, &again, &again_size));
    ck_assert_int_eq(again_size, size);
    ck_assert_mem_eq(again, bytes, (size_t)size);
    nmi_free(context, again);
    nmi_free(context, bytes);
    values[8] = INFINITY;
    assert_status(context, scaled_image(values, &bytes, &size), NEUMETA_ERR_NUMERIC);
    assert_message_contains(context, "tensor 'm': value 2 of row 1 is inf, which I8 cannot hold");
}
END_TEST

static neumeta_status expect_scaled(const char *header, int64_t data_size)
{
    int64_t size;
    nmi_safetensors *file;
    unsigned char *bytes = image(header, data_size, &size);
    assert_ok(context, nmi_safetensors_parse(context, "f", bytes, size, &file));
    const neumeta_status status = nmi_safetensors_expect_floats(file, "m", 3, scaled_dims);
    nmi_safetensors_free(file);
    free(bytes);
    return status;
}

START_TEST(eight_bits_without_their_scales_are_refused)
{
    assert_status(context,
                  expect_scaled("{'m':{'dtype':'I8','shape':[5,2,3],'data_offsets':[0,30]}}", 30),
                  NEUMETA_ERR_FORMAT);
    assert_message_contains(context, "tensor 'm/scale': is missing");
    assert_status(context,
                  expect_scaled("{'m/scale':{'dtype':'F32','shape':[6],'data_offsets':[0,24]},"
                                "'m':{'dtype':'I8','shape':[5,2,3],'data_offsets':[24,54]}}",
                                54),
                  NEUMETA_ERR_FORMAT);
    assert_message_contains(context, "tensor 'm/scale': is F32 [6], must be F32 [5]");
    assert_status(context,
                  expect_scaled("{'m':{'dtype':'I8','shape':[5,6],'data_offsets':[0,30]}}", 30),
                  NEUMETA_ERR_FORMAT);
    assert_message_contains(context, "tensor 'm': is I8 [5, 6], must be I8 [5, 2, 3]");
}
END_TEST

START_TEST(a_sink_that_fails_ends_the_writing)
{
    nmi_safetensors_writer *writer;
    int calls = 0;
    assert_ok(context, nmi_safetensors_writer_create(context, &writer));
    assert_ok(context, fill(writer));
    assert_status(context, nmi_safetensors_write(writer, refuse, &calls), NEUMETA_ERR_CALLBACK);
    ck_assert_int_eq(calls, 2);
    assert_message_contains(context, "enough");
    nmi_safetensors_writer_free(writer);
}
END_TEST

/* --- metadata ------------------------------------------------------------------------------ */

static neumeta_status check_metadata(const char *metadata, bool foreign)
{
    char header[512];
    int64_t size;
    nmi_safetensors *file;
    snprintf(header, sizeof header, "{'__metadata__':{%s}}", metadata);
    unsigned char *bytes = image(header, 0, &size);
    assert_ok(context, nmi_safetensors_parse(context, "f", bytes, size, &file));
    neumeta_status status = nmi_archive_check(file, NMI_KIND_MANIFOLD, foreign);
    nmi_safetensors_free(file);
    free(bytes);
    return status;
}

START_TEST(only_files_of_our_kind_and_format_pass)
{
    assert_ok(context, check_metadata("'neumeta.format':'1','neumeta.kind':'manifold'", false));
    assert_ok(context, check_metadata("'other':'1'", true));
    assert_status(context, check_metadata("'other':'1'", false), NEUMETA_ERR_FORMAT);
    assert_message_contains(context, "'f': metadata 'neumeta.format' is missing");
    assert_status(context, check_metadata("'neumeta.format':'1'", true), NEUMETA_ERR_FORMAT);
    assert_message_contains(context, "'f': metadata 'neumeta.kind' is missing");
    assert_status(context, check_metadata("'neumeta.kind':'manifold'", true), NEUMETA_ERR_FORMAT);
    assert_status(context, check_metadata("'neumeta.format':'3'", true), NEUMETA_ERR_VERSION);
    assert_message_contains(context, "'f': format 3 is newer than this library");
    assert_status(context, check_metadata("'neumeta.format':'2'", true), NEUMETA_ERR_FORMAT);
    assert_message_contains(context, "format 2 has checksums, and this one has none");
    assert_status(context, check_metadata("'neumeta.format':'1','neumeta.kind':'network'", true),
                  NEUMETA_ERR_FORMAT);
    assert_message_contains(context, "'f': it is a file of kind 'network', not 'manifold'");
    static const char *const bad[] = {"",   "0", "01",  "+1", " 1",
                                      "1 ", "x", "1.0", "-3", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[64];
        snprintf(text, sizeof text, "'neumeta.format':'%s'", bad[i]);
        assert_status(context, check_metadata(text, false), NEUMETA_ERR_FORMAT);
    }
}
END_TEST

START_TEST(numbers_in_metadata_keep_their_value)
{
    const int64_t values[] = {0, -1, 42, INT64_MAX, INT64_MIN};
    nmi_safetensors_writer *writer;
    nmi_safetensors *file;
    unsigned char *bytes;
    int64_t size, found;
    assert_ok(context, nmi_archive_create(context, NMI_KIND_CHECKPOINT, &writer));
    for (int i = 0; i < 5; i++) {
        char key[] = "number.0";
        key[7] = (char)('0' + i);
        assert_ok(context, nmi_archive_add_number(writer, key, values[i]));
    }
    assert_ok(context, nmi_safetensors_to_memory(writer, &bytes, &size));
    nmi_safetensors_writer_free(writer);
    assert_ok(context, nmi_safetensors_parse(context, "", bytes, size, &file));
    assert_ok(context, nmi_archive_check(file, NMI_KIND_CHECKPOINT, false));
    for (int i = 0; i < 5; i++) {
        char key[] = "number.0";
        key[7] = (char)('0' + i);
        assert_ok(context, nmi_archive_number(file, key, &found));
        ck_assert_int_eq(found, values[i]);
    }
    nmi_safetensors_free(file);
    nmi_free(context, bytes);
}
END_TEST

/* --- lack of memory ------------------------------------------------------------------------ */

static neumeta_status write_all(nmi_context *owner, const char *target)
{
    nmi_safetensors_writer *writer = NULL;
    unsigned char *bytes = NULL;
    int64_t size;
    neumeta_status status = nmi_archive_create(owner, NMI_KIND_NETWORK, &writer);
    if (status == NEUMETA_OK)
        status = fill(writer);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_save(writer, target);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_to_memory(writer, &bytes, &size);
    nmi_safetensors_writer_free(writer);
    nmi_free(owner, bytes);
    return status;
}

static neumeta_status read_all(nmi_context *owner, const char *target)
{
    const int64_t dims[] = {2, 3};
    float w[6];
    nmi_safetensors *file = NULL;
    neumeta_status status = nmi_safetensors_open(owner, target, &file);
    if (status == NEUMETA_OK)
        status = nmi_archive_check(file, NMI_KIND_NETWORK, false);
    if (status == NEUMETA_OK)
        status = nmi_safetensors_read(file, "w", NMI_DTYPE_F32, 2, dims, w);
    nmi_safetensors_free(file);
    return status;
}

static neumeta_status attempt(test_allocator *allocator, void *user)
{
    nmi_context *own;
    neumeta_status status = nmi_context_create(test_allocate, test_release, allocator, &own);
    if (status < 0)
        return status;
    status = write_all(own, user);
    if (status == NEUMETA_OK)
        status = read_all(own, user);
    if (status < 0)
        ck_assert_str_ne(neumeta_context_message(own), "");
    nmi_context_release(own);
    return status;
}

START_TEST(every_allocation_may_fail)
{
    ck_assert_int_gt(test_every_allocation(attempt, path), 10);
}
END_TEST

static neumeta_status write_json(nmi_context *owner, void *user)
{
    return write_all(owner, user);
}

START_TEST(every_allocation_of_the_json_printer_may_fail)
{
    ck_assert_int_gt(test_every_json_allocation(write_json, context, path), 50);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("io");
    TCase *files = tcase_create("safetensors");
    tcase_add_checked_fixture(files, set_up, tear_down);
    tcase_add_test(files, a_file_made_by_hand_is_understood);
    tcase_add_loop_test(files, each_damage_is_named, 0, sizeof refusals / sizeof *refusals);
    tcase_add_test(files, a_header_longer_than_its_file_or_its_limit_is_refused);
    tcase_add_test(files, a_name_beyond_the_limit_is_refused);
    tcase_add_test(files, every_truncation_is_refused);
    tcase_add_test(files, every_changed_byte_of_a_header_is_survived);
    tcase_add_test(files, random_damage_is_survived);
    tcase_add_test(files, many_tensors_in_any_order_are_sorted);
    tcase_add_test(files, many_tensors_are_found_in_little_time);
    tcase_add_test(files, a_tensor_of_another_type_or_shape_is_named);
    tcase_add_test(files, types_beyond_the_table_have_neither_name_nor_size);
    tcase_add_test(files, bytes_are_swapped_within_each_element);
    tcase_add_loop_test(files, foreign_files_are_read, 0, 9);
    tcase_add_test(files, what_was_written_is_read_bit_by_bit);
    tcase_add_test(files, the_bytes_of_a_file_are_these);
    tcase_add_test(files, what_cannot_be_stored_is_refused);
    tcase_add_test(files, what_makes_a_file_too_large_is_refused);
    tcase_add_test(files, a_header_beyond_the_limit_is_not_written);
    tcase_add_test(files, rows_of_eight_bits_are_rounded_once);
    tcase_add_test(files, eight_bits_without_their_scales_are_refused);
    tcase_add_test(files, a_sink_that_fails_ends_the_writing);
    tcase_add_test(files, only_files_of_our_kind_and_format_pass);
    tcase_add_test(files, numbers_in_metadata_keep_their_value);
    tcase_add_test(files, every_allocation_may_fail);
    tcase_add_test(files, every_allocation_of_the_json_printer_may_fail);
    suite_add_tcase(suite, files);
    return test_main(suite);
}
