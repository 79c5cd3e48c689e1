/* SPDX-License-Identifier: MIT */
/* Numbers of 16 bits, all of them, and hashes of known bytes. */
#include "nmi_float16.h"
#include "nmi_hash.h"
#include "nmi_test.h"

#include <math.h>
#include <stdio.h>

/* --- F16 and bf16 ---------------------------------------------------------------------------- */

typedef struct type {
    int fraction, bias; /* bits of the fraction, and what the exponent exceeds its power by */
    uint32_t (*bits)(float);
    float (*from_bits)(uint32_t);
} type;

static const type types[] = {{10, 15, nmi_f16_bits, nmi_f16_from_bits},
                             {7, 127, nmi_bf16_bits, nmi_bf16_from_bits}};
enum { TYPES = sizeof types / sizeof *types };

/* By the definition of the type; the exponent of all ones is left to the caller. */
static double value_of(const type *t, uint32_t bits)
{
    const int exponent = (int)(bits & 0x7fffu) >> t->fraction;
    const double fraction = (double)(bits & ((1u << t->fraction) - 1)) / (1 << t->fraction);
    const double size =
        exponent == 0 ? ldexp(fraction, 1 - t->bias) : ldexp(1 + fraction, exponent - t->bias);
    return (bits & 0x8000u) != 0 ? -size : size;
}

static uint32_t infinity_of(const type *t)
{
    return 0x7fffu & ~((1u << t->fraction) - 1);
}

START_TEST(every_pattern_is_a_float_and_comes_back)
{
    const type *t = &types[_i];
    for (uint32_t bits = 0; bits < 0x10000u; bits++) {
        const float x = t->from_bits(bits);
        const uint32_t size = bits & 0x7fffu;
        if (size > infinity_of(t)) {
            const uint32_t back = t->bits(x);
            ck_assert(isnan(x) && (back & 0x7fffu) > infinity_of(t));
            ck_assert_uint_eq(back & 0x8000u, bits & 0x8000u);
            continue;
        }
        if (size == infinity_of(t))
            ck_assert(isinf(x) && (x < 0) == (bits >= 0x8000u));
        else
            ck_assert_double_eq((double)x, value_of(t, bits));
        ck_assert_uint_eq(t->bits(x), bits);
    }
}
END_TEST

/* Between any two neighbours: at their middle to the even one, beside it to the nearer. */
START_TEST(floats_between_are_rounded_to_the_nearest)
{
    const type *t = &types[_i];
    for (uint32_t low = 0; low < infinity_of(t); low++) {
        const double a = value_of(t, low),
                     b = value_of(t, low + 1); /* past the end, as if it was */
        const float middle = (float)((a + b) / 2);
        ck_assert_double_eq((double)middle, (a + b) / 2);
        ck_assert_uint_eq(t->bits(middle), low + (low & 1u));
        ck_assert_uint_eq(t->bits(nextafterf(middle, 0)), low);
        ck_assert_uint_eq(t->bits(nextafterf(middle, INFINITY)), low + 1);
        ck_assert_uint_eq(t->bits(-middle), 0x8000u | (low + (low & 1u)));
    }
}
END_TEST

START_TEST(what_lies_beyond_the_range_is_infinite)
{
    ck_assert_uint_eq(nmi_f16_bits(65519.996F), 0x7bffu);
    ck_assert_uint_eq(nmi_f16_bits(65520), 0x7c00u);
    ck_assert_uint_eq(nmi_f16_bits(-3e38F), 0xfc00u);
    ck_assert_uint_eq(nmi_f16_bits(1e-30F), 0);
    ck_assert_uint_eq(nmi_f16_bits(-0.0F), 0x8000u);
    ck_assert_uint_eq(nmi_bf16_bits(3.4e38F), 0x7f80u);
    ck_assert_uint_eq(nmi_bf16_bits(nmi_float_from_bits(0x7f800001u)) & 0x7fffu, 0x7fc0u);
}
END_TEST

/* --- hashes ---------------------------------------------------------------------------------- */

START_TEST(xxh64_of_known_bytes)
{
    unsigned char bytes[222];
    ck_assert_uint_eq(nmi_xxh64("", 0, 0), UINT64_C(0xef46db3751d8e999));
    ck_assert_uint_eq(nmi_xxh64("abc", 3, 0), UINT64_C(0x44bc2cf5ad770999));
    /* The sequence of bytes, and the seed, that its authors check implementations with. */
    uint64_t generator = 2654435761u;
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (unsigned char)(generator >> 56);
        generator *= UINT64_C(11400714785074694797);
    }
    ck_assert_uint_eq(nmi_xxh64(bytes, 1, 0), UINT64_C(0xe934a84adb052768));
    ck_assert_uint_eq(nmi_xxh64(bytes, 4, 0), UINT64_C(0x9136a0dca57457ee));
    ck_assert_uint_eq(nmi_xxh64(bytes, 14, 0), UINT64_C(0x8282dcc4994e35c8));
    ck_assert_uint_eq(nmi_xxh64(bytes, 222, 0), UINT64_C(0xb641ae8cb691c174));
    ck_assert_uint_eq(nmi_xxh64(bytes, 222, 2654435761u), UINT64_C(0x20cb8ab7ae10c14a));
}
END_TEST

static void assert_sha256(const char *expected, const nmi_sha256 *hash)
{
    nmi_sha256 copy = *hash;
    unsigned char bytes[NMI_SHA256_BYTES];
    char text[2 * NMI_SHA256_BYTES + 1];
    nmi_sha256_end(&copy, bytes);
    for (int i = 0; i < NMI_SHA256_BYTES; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    ck_assert_str_eq(text, expected);
}

START_TEST(sha256_of_the_standards_messages)
{
    static const char two_blocks[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    nmi_sha256 hash;
    nmi_sha256_start(&hash);
    assert_sha256("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", &hash);
    nmi_sha256_add(&hash, "abc", 3);
    assert_sha256("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", &hash);
    nmi_sha256_start(&hash);
    nmi_sha256_add(&hash, two_blocks, sizeof two_blocks - 1);
    assert_sha256("248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1", &hash);
    nmi_sha256_start(&hash);
    for (int i = 0; i < 1000000; i += 50) /* in pieces that do not divide blocks */
        nmi_sha256_add(&hash, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 50);
    assert_sha256("cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0", &hash);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("numbers");
    TCase *floats = tcase_create("16 bits"), *hashes = tcase_create("hashes");
    tcase_add_loop_test(floats, every_pattern_is_a_float_and_comes_back, 0, TYPES);
    tcase_add_loop_test(floats, floats_between_are_rounded_to_the_nearest, 0, TYPES);
    tcase_add_test(floats, what_lies_beyond_the_range_is_infinite);
    tcase_add_test(hashes, xxh64_of_known_bytes);
    tcase_add_test(hashes, sha256_of_the_standards_messages);
    suite_add_tcase(suite, floats);
    suite_add_tcase(suite, hashes);
    return test_main(suite);
}
