#include <stdio.h>
int main(void) {
  long long n, x, s = 0;
  scanf("%lld", &n);
  while (n-- && scanf("%lld", &x) == 1) s += x;
  printf("%lld\n", s);
}
