/*
 * salt.c
 *		Keys of visitors under their tenant's salt.
 *
 * A key of eight bytes is enciphered by AES with the salt as its key, and half
 * of the block is kept: with the processor's instructions for it that is faster
 * than any keyed hash.
 */
#include "artery.h"

#include <openssl/evp.h>

#include "capture/salt.h"

#define BLOCK_BYTES 16

int64
artery_salt_seal(const unsigned char *salt, int64 key)
{
	static EVP_CIPHER_CTX *context = NULL;
	static unsigned char known[TENANT_SALT_BYTES];	/* the salt that the context has */
	static bool is_keyed = false;
	unsigned char block[BLOCK_BYTES] = {0};
	int			length;
	int			i;

	if (key == 0)
		return 0;
	if (context == NULL)
		context = EVP_CIPHER_CTX_new();
	if (context != NULL && (!is_keyed || memcmp(known, salt, TENANT_SALT_BYTES) != 0))
	{
		is_keyed = EVP_EncryptInit_ex(context, EVP_aes_128_ecb(), NULL, salt, NULL) == 1 &&
			EVP_CIPHER_CTX_set_padding(context, 0) == 1;
		memcpy(known, salt, TENANT_SALT_BYTES);
	}
	for (i = 0; i < 8; i++)		/* the same bytes on every machine */
		block[i] = (unsigned char) ((uint64) key >> (8 * i));
	if (!is_keyed || EVP_EncryptUpdate(context, block, &length, block, BLOCK_BYTES) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not make a salted key")));
	key = 0;
	for (i = 0; i < 8; i++)
		key |= (int64) ((uint64) block[i] << (8 * i));
	return key == 0 ? 1 : key;
}
